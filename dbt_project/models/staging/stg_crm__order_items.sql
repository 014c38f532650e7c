with

source as (

    select * from {{ source('raw', 'crm__order_items') }}

),

renamed as (

    select
        ---------- ids
        order_item_id,
        order_id,
        customer_id,
        product_id,

        ---------- numerics
        quantity,
        unit_price_cny,

        ---------- timestamps and dates
        ordered_at,
        {{ business_date('ordered_at') }} as order_date,
        returned_at,
        {{ business_date('returned_at') }} as returned_date,
        updated_at,
        ds as load_date

    from source

)

select * from renamed
