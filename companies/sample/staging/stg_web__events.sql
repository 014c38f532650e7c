with

source as (

    select * from {{ source('raw', 'web__events') }}

),

renamed as (

    select
        ---------- ids
        event_id,
        user_id as customer_id,
        device_id,
        session_id,
        product_id,
        order_id,

        ---------- strings
        event_type,
        search_term,
        platform,

        ---------- numerics
        duration_ms,

        ---------- booleans
        is_logged_in,

        ---------- timestamps and dates
        event_time as occurred_at,
        received_date,
        ds as load_date

    from source

)

select * from renamed
