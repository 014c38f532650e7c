with

source as (

    select * from {{ source('raw', 'crm__orders') }}

),

renamed as (

    select
        ---------- ids
        order_id,
        customer_id,

        ---------- strings
        channel,

        ---------- numerics
        amount_cny as amount,

        ---------- timestamps and dates
        ordered_at,
        updated_at,
        ds as load_date

    from source

)

select * from renamed
