{#-
  Lines that give money back: those of a cancellation, which names no order (but what was bought and how much of it), and in
  other invoices discounts (of that very order) and bad debt (of none).
-#}
with

source as (

    select * from {{ source('raw', 'cornershop__invoice_lines') }}
    where `InvoiceNo` like 'C%' or `Quantity` <= 0 or `UnitPrice` < 0

),

invoices as (

    select * from {{ source('raw', 'cornershop__invoices') }}

),

renamed as (

    select
        ---------- ids
        concat(source.`InvoiceNo`, '-', source.`LineNo`) as reversal_id,
        case when source.`InvoiceNo` not like 'C%' and source.`Quantity` <= 0 then source.`InvoiceNo` end as order_id,
        invoices.`CustomerID` as customer_id,
        source.`StockCode` as product_id,

        ---------- strings
        case when source.`InvoiceNo` like 'C%' then 'cancelled' else 'returned' end as reversal_kind,
        invoices.`Currency` as currency,

        ---------- numerics
        -source.`Quantity` as quantity,
        -source.`Quantity` * source.`UnitPrice` as amount,

        ---------- timestamps and dates
        invoices.`InvoiceDate` as reversed_at,
        source.ds as load_date

    from source
    inner join invoices on invoices.`InvoiceNo` = source.`InvoiceNo` and invoices.ds = source.ds

)

select * from renamed
