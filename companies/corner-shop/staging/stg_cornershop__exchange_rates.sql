with

source as (

    select * from {{ source('raw', 'cornershop__exchange_rates') }}

),

renamed as (

    select
        ---------- strings
        `Currency` as currency,

        ---------- numerics
        `Rate` as rate,

        ---------- dates
        `Day` as rate_date,
        ds as load_date

    from source

)

select * from renamed
