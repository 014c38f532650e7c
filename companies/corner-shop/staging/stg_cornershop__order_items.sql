{#- Lines that sell something. Postage and what was typed by hand are among them: they have a code, but are not in stock. -#}
with

source as (

    select * from {{ source('raw', 'cornershop__invoice_lines') }}
    where `InvoiceNo` not like 'C%' and `Quantity` > 0 and `UnitPrice` >= 0

),

invoices as (

    select * from {{ source('raw', 'cornershop__invoices') }}

),

renamed as (

    select
        ---------- ids
        concat(source.`InvoiceNo`, '-', source.`LineNo`) as order_item_id,
        source.`InvoiceNo` as order_id,
        invoices.`CustomerID` as customer_id,
        source.`StockCode` as product_id,

        ---------- numerics
        source.`Quantity` as quantity,
        source.`UnitPrice` as unit_price,

        ---------- timestamps and dates
        invoices.`InvoiceDate` as ordered_at,
        source.ds as load_date

    from source
    inner join invoices on invoices.`InvoiceNo` = source.`InvoiceNo` and invoices.ds = source.ds

)

select * from renamed
