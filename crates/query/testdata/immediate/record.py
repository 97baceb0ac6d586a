# Records recorded.test: asks a Prometheus 3.14 (PROMETHEUS, PROMTOOL) on loopback; run in an empty folder.
import random, json, urllib.request, urllib.parse, subprocess, os, time, math, sys, itertools, shutil, socket
random.seed(7)
N=61; STEP=30
series={}
def add(name, labels, vals): series[(name, tuple(sorted(labels.items())))]=vals
for job in ("api","web"):
    for i in range(3):
        v=0; out=[]
        for n in range(N):
            if random.random()<0.08: out.append(None); continue
            if random.random()<0.06: v=random.randint(0,5)
            else: v+=random.randint(0,40)
            out.append(v)
        add("req_total",{"job":job,"inst":str(i)},out)
        add("temp",{"job":job,"inst":str(i)},[None if random.random()<0.1 else round(random.uniform(-20,40),2) for _ in range(N)])
    add("limit",{"job":job},[100+n for n in range(N)])
add("limit",{"job":"db"},[7]*N)
add("odd",{"job":"api","inst":"0"},[[float('nan'),float('inf'),-float('inf'),0,1,-1][n%6] for n in range(N)])
for inst in "01":
    for le,k in (("0.1",1),("0.5",3),("1",4),("+Inf",5)):
        add("lat_bucket",{"inst":inst,"le":le},[n*k if not (inst=="1" and le=="0.5" and n>30) else 10 for n in range(N)])
def lab(l): return "{"+",".join('%s="%s"'%kv for kv in l)+"}"
def num(v):
    if v is None: return "_"
    if isinstance(v,float) and math.isnan(v): return "NaN"
    if v==float('inf'): return "Inf"
    if v==-float('inf'): return "-Inf"
    return repr(v)
with open("data.om","w") as f:
    byname={}
    for (name,l),vals in series.items(): byname.setdefault(name,[]).append((l,vals))
    for name,ss in byname.items():
        for l,vals in ss:
            for n,v in enumerate(vals):
                if v is None: continue
                f.write("%s%s %s %d\n"%(name,lab(l),num(v).replace("Inf","+Inf") if num(v)=="Inf" else num(v),n*STEP))
    f.write("# EOF\n")
shutil.rmtree("data",ignore_errors=True)
subprocess.check_call([os.environ.get("PROMTOOL","promtool"),"tsdb","create-blocks-from","openmetrics","data.om","data"],stdout=subprocess.DEVNULL)
open("prom.yml","w").write("global: {evaluation_interval: 1m}\n")
s=socket.socket(); s.bind(("127.0.0.1",0)); port=s.getsockname()[1]; s.close()
p=subprocess.Popen([os.environ.get("PROMETHEUS","prometheus"),"--config.file=prom.yml","--storage.tsdb.path=data","--storage.tsdb.retention.time=100y","--web.listen-address=127.0.0.1:%d"%port,"--enable-feature=promql-experimental-functions,promql-extended-range-selectors,promql-binop-fill-modifiers"],stderr=open("prom.log","w"))
base="http://127.0.0.1:%d"%port
for _ in range(100):
    try:
        urllib.request.urlopen(base+"/-/ready"); break
    except Exception: time.sleep(0.1)
def get(path,**kw):
    try:
        r=urllib.request.urlopen(base+path+"?"+urllib.parse.urlencode(kw)); return json.load(r)
    except urllib.error.HTTPError as e: return json.load(e)
Q=[]
vec=["req_total","temp",'temp{job="api"}',"odd","limit",'{__name__=~"temp|limit"}']
simple="abs acos acosh asin asinh atan atanh ceil cos cosh deg exp floor ln log10 log2 rad sgn sin sinh sqrt tan tanh timestamp day_of_month day_of_week day_of_year days_in_month hour minute month year sort sort_desc absent scalar".split()
for f in simple:
    for v in ("temp","odd","req_total"): Q.append("%s(%s)"%(f,v))
for f in "avg_over_time changes count_over_time delta deriv first_over_time idelta increase irate last_over_time mad_over_time max_over_time min_over_time present_over_time rate resets stddev_over_time stdvar_over_time sum_over_time ts_of_first_over_time ts_of_last_over_time ts_of_max_over_time ts_of_min_over_time absent_over_time".split():
    for v in ("req_total","temp","odd"):
        for r in ("1m","2m15s","10m"): Q.append("%s(%s[%s])"%(f,v,r))
    Q.append("%s(temp[5m:45s])"%f); Q.append("%s(rate(req_total[2m])[4m:1m] offset 30s)"%f)
    Q.append('%s({__name__=~"temp|limit"}[3m])'%f)
for q in ("0.3","-1","2","NaN","scalar(limit{job=\"db\"})/10"): Q+=["quantile_over_time(%s, temp[3m])"%q,"quantile(%s, temp)"%q,"quantile by (job) (%s, temp)"%q,"histogram_quantile(%s, lat_bucket)"%q,"histogram_quantile(%s, sum by (le) (rate(lat_bucket[2m])))"%q]
Q+=["predict_linear(temp[5m], 600)","double_exponential_smoothing(temp[5m], 0.3, 0.6)","histogram_fraction(0.2, 0.7, lat_bucket)",'histogram_quantiles(lat_bucket, "q", 0.1, 0.5, 0.9)',"round(temp, 5)","clamp(temp, -3, 10)","clamp_min(temp, 0)","clamp_max(temp, 0)","clamp(temp, 3, 1)","time()","vector(time())","pi()","max_of(3, 5) - min_of(time(), 100)"]
for agg in "sum avg min max count group stddev stdvar".split():
    for v in ("temp","odd",'{__name__=~"temp|req_total"}'):
        for m in (""," by (job)"," without (inst)"," by (__name__)"): Q.append("%s%s (%s)"%(agg,m,v))
for agg in ("topk","bottomk","limitk","limit_ratio"):
    for k in ("1","2","0.5","-0.5","0","scalar(limit{job=\"db\"}) - 5"):
        for m in (""," by (job)"): Q.append("%s%s(%s, temp)"%(agg,m,k))
Q+=['count_values("v", limit)','count_values by (job) ("v", round(temp, 20))','count_values without (inst) ("job", round(temp, 20))']
for op in "+ - * / % ^ atan2 == != > < >= <=".split():
    for l,r in (("temp","2"),("2","temp"),("temp","req_total"),("temp","on(job) group_left limit"),("limit","on(job) group_right temp"),("temp","on(job) limit"),("odd","odd"),("1","2")):
        if op in "== != > < >= <=".split() and (l,r)==("1","2"): Q.append("1 %s bool 2"%op); continue
        Q.append("%s %s %s"%(l,op,r))
        if op in "== != > < >= <=".split(): Q.append("%s %s bool %s"%(l,op,r))
    Q.append("temp %s fill(0) req_total"%op) if op not in ("==",) else None
for op in ("and","or","unless"):
    for l,r in (("temp","req_total > 100"),("temp > 0","on(job) limit"),("temp > 0","temp < -10"),("-temp","abs(temp)"),("abs(temp > 0)","-(temp < 0)")): Q.append("%s %s %s"%(l,op,r))
Q+=['-temp','-{__name__=~"temp|limit"}','abs({__name__=~"temp|req_total"})','label_replace(temp, "x", "$1-$2", "inst", "(.)(.*)")','label_replace(temp, "inst", "", "job", ".*")','label_replace(temp, "__name__", "n", "job", "api")','label_join(temp, "x", "-", "job", "inst")','label_join(temp, "job", "", "none")','temp @ 600','temp offset 2m','temp @ end()','rate(req_total[2m] @ 900)','sum(temp @ start()) - temp','sum_over_time(temp[3m:1m] @ 800)','absent(nothing{a="1",b=~"x",a="1"})','absent(temp > 1000)','absent_over_time(nothing{a="1"}[5m])','temp * 0 + on() group_left() vector(3)','sum(rate(req_total[2m])) / count(temp)','increase(req_total[2m] anchored)','increase(req_total[2m] smoothed)','rate(req_total[3m] smoothed)','delta(temp[2m] anchored)','changes(temp[2m] anchored)','temp smoothed','resets(req_total[5m] anchored)','min_over_time(temp[2m] anchored)','sort_by_label(temp, "inst")','sort_by_label_desc(temp, "inst","job")','temp[2m]','temp[2m:30s]','"str"','max_over_time((temp > 0)[5m:1m])','sum by (job) (temp) > bool on(job) limit','temp{inst="0"} > on(job) group_left temp{inst="1"}','limit + on() temp','temp + ignoring(inst) limit','temp + ignoring(inst) group_left limit','avg(avg_over_time(temp[5m])) by (job) ^ 2','sum(sum_over_time(odd[2m]))','start() + end() + range() + step()','info(temp)','max(temp) - min(temp) + scalar(sum(temp))','sum({__name__=~"temp|limit"}) by (job)','rate({__name__=~"req_total|temp"}[2m])','rate(temp[2m]) + rate(req_total[2m])', 'last_over_time({__name__=~"req_total|temp"}[2m])','timestamp(temp offset 1m)','timestamp(temp @ 333)','timestamp(abs(temp))','timestamp({__name__=~"temp|limit"})','group by (job) (temp) * on (job) group_left limit','quantile_over_time(0.9, rate(req_total[1m])[5m:30s])','vector(1) == bool vector(1)','scalar(temp) + 1','hour()','minute(vector(3600*5.5))','days_in_month(vector(951782400))','temp and on() vector(1)','topk(1, temp) by (job) or bottomk(1, temp)','sum(topk(2, temp))','ceil(temp) == floor(temp)','count(temp == temp)']
Q=list(dict.fromkeys(Q))
def fl(s):
    if s not in ("NaN","+Inf","-Inf"): return "%.9g"%float(s)
    return {"+Inf":"Inf"}.get(s,s)
def metric(m):
    name=m.get("__name__","")
    rest=",".join('%s=%s'%(k if k.isidentifier() else json.dumps(k),json.dumps(v)) for k,v in sorted(m.items()) if k!="__name__")
    return (name or "")+"{"+rest+"}"
out=[]
W=out.append
W("# Answers of Prometheus 3.14 with names dropped at once, recorded. Data and queries are made by a script.")
W("load %ds"%STEP)
for (name,l),vals in series.items(): W("  %s%s %s"%(name,lab(l)," ".join(num(v) for v in vals)))
W("")
skip=0
def expects(r,rng=False):
    if r["status"]!="success":
        W("  expect fail msg: "+r["error"]); return False
    ws=[w for w in r.get("warnings",[])]; ins=r.get("infos",[])
    if len(ws)+len(ins)>10: return True
    if not ws: W("  expect no_warn")
    if not ins: W("  expect no_info")
    for w in ws: W("  expect warn msg: "+w)
    for w in ins:
        if "samples from" in w and rng: W("  expect info regex: fixed for monotonicity")
        else: W("  expect info msg: "+w)
    return True
for q in Q:
    # range
    a,b,st=450,1500,150
    r=get("/api/v1/query_range",query=q,start=a,end=b,step=st)
    if r["status"]!="success" and r["errorType"]=="bad_data" : pass
    else:
        W("eval range from %ds to %ds step %ds %s"%(a,b,st,q))
        if expects(r,True):
            for s in r["data"]["result"]:
                vals={int(round(t)):v for t,v in s["values"]}
                line=[fl(vals[t]) if t in vals else "_" for t in range(a,b+1,st)]
                W("  %s %s"%(metric(s["metric"])," ".join(line)))
        W("")
    t=930
    r=get("/api/v1/query",query=q,time=t)
    W("eval instant at %ds %s"%(t,q))
    if expects(r):
        d=r["data"]
        if d["resultType"]=="scalar": W("  "+fl(d["result"][1]))
        elif d["resultType"]=="string": W("  expect string "+json.dumps(d["result"][1]))
        elif d["resultType"]=="vector":
            for s in d["result"]: W("  %s %s"%(metric(s["metric"]),fl(s["value"][1])))
        else:
            # raw matrix: skip
            out=out; 
            while not out[-1].startswith("eval"): out.pop()
            out.pop(); skip+=1
            continue
    W("")
open("recorded.test","w").write("\n".join(out)+"\n")
p.terminate(); p.wait()
print(len(Q),"queries",skip,"skipped")
