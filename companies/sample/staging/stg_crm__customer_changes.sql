with

source as (

    select * from {{ source('raw', 'crm__customer_changes') }}

),

renamed as (

    select
        ---------- ids
        change_id,
        customer_id,

        ---------- strings
        field as attribute,
        old_value,
        new_value,

        ---------- timestamps and dates
        changed_at,
        ds as load_date

    from source

)

select * from renamed
