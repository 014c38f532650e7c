with

source as (

    select * from {{ source('raw', 'ads__events') }} where event_type = 'impression'

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
        channel,
        placement,
        device_type,
        creative_format,

        ---------- numerics
        position,

        ---------- timestamps and dates
        event_time as occurred_at,
        received_date,
        ds as load_date

    from source

)

select * from renamed
