#include "server/runs/run_record.h"
#include "schema/formats/json.h"
#include "schema/base/time.h"

static void put_time(Buf *out, const char *key, int64_t us) {
    buf_printf(out, ",\"%s\":", key);
    if (us) time_put_json(out, us);
    else buf_puts(out, "null");
}

/* Without the closing brace. */
static void put_head(Buf *out, const StoredRun *run) {
    const RunProgress *p = &run->progress;
    buf_printf(out, "{\"id\":\"%s\",\"name\":", run->id);
    json_put_string(out, run->name);
    buf_printf(out, ",\"state\":\"%s\"", run_state_names[p->state]);
    if (p->code) buf_printf(out, ",\"code\":\"%s\"", err_name(p->code));
    if (*p->reason) {
        buf_puts(out, ",\"reason\":");
        json_put_string(out, p->reason);
    }
    put_time(out, "created", run->created);
    put_time(out, "started", p->started);
    put_time(out, "ended", p->ended);
    buf_printf(out, ",\"step\":%llu,\"steps\":%llu,\"epoch\":", (unsigned long long)p->step, (unsigned long long)p->steps);
    json_put_double(out, p->epoch);
    buf_printf(out, ",\"program\":\"%s\"", run->program);
    if (*run->forked_from) buf_printf(out, ",\"forked_from\":\"%s\"", run->forked_from);
    buf_printf(out, ",\"latest\":%s", p->latest);
}

void run_record_put(Buf *out, const StoredRun *run) {
    put_head(out, run);
    buf_putc(out, '}');
}

void run_record_begin_whole(Buf *out, const StoredRun *run) {
    put_head(out, run);
    buf_printf(out, ",\"spec\":%s,%s,\"versions\":%s,\"attempts\":[%s],\"checkpoints\":[", run->spec, run->facts, run->progress.versions,
               run->progress.attempts);
}
