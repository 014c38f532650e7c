{#- The CRM notes at the order that it was cancelled: money that went back, on the day of the cancellation. -#}
with

source as (

    select * from {{ source('raw', 'crm__orders') }} where cancelled_at is not null

),

renamed as (

    select
        ---------- ids
        concat(order_id, '-cancelled') as reversal_id,
        order_id,
        customer_id,

        ---------- strings
        'cancelled' as reversal_kind,

        ---------- numerics
        amount_cny as amount,

        ---------- timestamps and dates
        cancelled_at as reversed_at,
        ds as load_date

    from source

)

select * from renamed
