{#- The CRM notes at the item that it was returned: money that went back, on the day of the return. -#}
with

source as (

    select * from {{ source('raw', 'crm__order_items') }} where returned_at is not null

),

renamed as (

    select
        ---------- ids
        concat(order_item_id, '-returned') as reversal_id,
        order_id,
        order_item_id,
        customer_id,

        ---------- strings
        'returned' as reversal_kind,

        ---------- numerics
        cast(quantity * unit_price_cny as decimal(18,2)) as amount,

        ---------- timestamps and dates
        returned_at as reversed_at,
        ds as load_date

    from source

)

select * from renamed
