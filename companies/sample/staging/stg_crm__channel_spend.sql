with

source as (

    select * from {{ source('raw', 'crm__channel_spend') }}

),

renamed as (

    select
        ---------- ids
        spend_id,

        ---------- strings
        channel,

        ---------- numerics
        spend_cny as spend,

        ---------- dates
        spend_date,
        ds as load_date

    from source

)

select * from renamed
