with

source as (

    select * from {{ source('raw', 'crm__campaigns') }}

),

renamed as (

    select
        ---------- ids
        campaign_id,

        ---------- strings
        campaign_name,
        channel,
        category,

        ---------- timestamps and dates
        started_at,
        ended_at,
        ds as load_date

    from source

)

select * from renamed
