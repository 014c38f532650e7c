import time
from datetime import date, timedelta
def test_days(spark):
    days=[(date(2015,1,1)+timedelta(n)).isoformat() for n in range(3653)]
    arr="array('"+"', '".join(days)+"')"
    out=[]
    t=time.time(); n=spark.sql(f"select count(*), max(ds) from (select 1 as one) nothing lateral view explode({arr}) span as ds").collect(); out.append((time.time()-t,n,len(arr)))
    t=time.time(); n=spark.sql(f"select count(*), sum(w) from (select id, ds, sum(id % 7) over (partition by id order by ds) w from range(2000) lateral view explode({arr}) span as ds)").collect(); out.append((time.time()-t,n))
    open('/tmp/mx/days.txt','w').write(str(out))
