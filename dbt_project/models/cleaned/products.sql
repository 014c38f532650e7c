select
    product_id,
    product_name,
    category,
    brand,
    price,
    load_date as ds

from {{ ref('input__products') }}
where load_date = '{{ to_ds() }}'
