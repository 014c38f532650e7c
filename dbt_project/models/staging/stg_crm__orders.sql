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
        amount_cny,

        ---------- timestamps and dates
        ordered_at,
        {{ business_date('ordered_at') }} as order_date,
        cancelled_at,
        {{ business_date('cancelled_at') }} as cancelled_date,
        updated_at,
        ds as load_date

    from source

)

select * from renamed
