with

source as (

    select * from {{ source('raw', 'web__events') }}

),

timed as (

    select
        source.*,
        {{ utc_timestamp('source.occurred_at') }} as occurred_at_utc

    from source

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
        occurred_at_utc as occurred_at,
        {{ business_date('occurred_at_utc') }} as event_date,
        received_date,
        ds as load_date

    from timed

)

select * from renamed
