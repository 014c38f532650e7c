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
        unit_price_cny as unit_price,

        ---------- timestamps and dates
        ordered_at,
        updated_at,
        ds as load_date

    from source

)

select * from renamed
