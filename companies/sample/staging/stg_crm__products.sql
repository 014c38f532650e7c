with

source as (

    select * from {{ source('raw', 'crm__products') }}

),

renamed as (

    select
        ---------- ids
        product_id,

        ---------- strings
        product_name,
        category,
        brand,

        ---------- numerics
        price_cny as price,

        ---------- dates
        ds as load_date

    from source

)

select * from renamed
