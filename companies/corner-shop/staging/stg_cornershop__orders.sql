{#-
  Invoices as orders. What an invoice takes back (a line of less than nothing) is a reversal, so an order never is below zero;
  an invoice that only takes back (bad debt) is no order.
-#}
with

source as (

    select * from {{ source('raw', 'cornershop__invoices') }} where `InvoiceNo` not like 'C%'

),

sold as (

    select `InvoiceNo` as order_id, ds as load_date, sum(`Quantity` * `UnitPrice`) as amount
    from {{ source('raw', 'cornershop__invoice_lines') }}
    where `Quantity` > 0 and `UnitPrice` >= 0
    group by `InvoiceNo`, ds

),

renamed as (

    select
        ---------- ids
        sold.order_id,
        source.`CustomerID` as customer_id,

        ---------- strings
        source.`Currency` as currency,

        ---------- numerics
        sold.amount,

        ---------- timestamps and dates
        source.`InvoiceDate` as ordered_at,
        sold.load_date

    from source
    inner join sold on sold.order_id = source.`InvoiceNo` and sold.load_date = source.ds

)

select * from renamed
