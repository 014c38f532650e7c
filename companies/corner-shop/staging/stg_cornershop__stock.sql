with

source as (

    select * from {{ source('raw', 'cornershop__stock') }}

),

renamed as (

    select
        ---------- ids
        `StockCode` as product_id,

        ---------- strings
        `Description` as product_name,
        `Category` as category,

        ---------- numerics
        `ListPrice` as price,

        ---------- dates
        ds as load_date

    from source

)

select * from renamed
