with

source as (

    select * from {{ source('raw', 'ads__events') }}

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
        impression_id,
        user_id as customer_id,
        device_id,
        campaign_id,

        ---------- strings
        event_type,
        channel,
        placement,
        device_type,
        creative_format,

        ---------- numerics
        position,

        ---------- timestamps and dates
        occurred_at_utc as occurred_at,
        {{ business_date('occurred_at_utc') }} as event_date,
        received_date,
        ds as load_date

    from timed

)

select * from renamed
