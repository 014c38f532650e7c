with

source as (

    select * from {{ source('raw', 'ads__events') }}

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
        event_time as occurred_at,
        {{ business_date('event_time') }} as event_date,
        received_date,
        ds as load_date

    from source

)

select * from renamed
