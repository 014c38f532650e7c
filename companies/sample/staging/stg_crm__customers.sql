with

source as (

    select * from {{ source('raw', 'crm__customers') }}

),

renamed as (

    select
        ---------- ids
        customer_id,

        ---------- strings
        phone_hash,
        phone_mask,
        email_hash,
        gender,
        city,
        acquisition_channel,
        membership_plan,

        ---------- numerics
        birth_year,
        latitude,
        longitude,

        ---------- booleans
        consent_marketing as has_marketing_consent,
        consent_profiling as has_profiling_consent,

        ---------- timestamps and dates
        registered_at,
        membership_expires_at,
        membership_cancelled_at,
        consent_marketing_changed_at as marketing_consent_changed_at,
        consent_profiling_changed_at as profiling_consent_changed_at,
        ds as load_date

    from source

)

select * from renamed
