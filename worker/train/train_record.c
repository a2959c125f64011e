#include "worker/train/train_record.h"
#include "schema/protocol/build.h"
#include <stdio.h>
#include <string.h>

/* "Intel(R) Xeon(R) …", as the kernel names it; "unknown" where it does not. */
static void cpu_name(char *out, size_t room) {
    char line[256];
    FILE *f = fopen("/proc/cpuinfo", "re");
    snprintf(out, room, "unknown");
    while (f && fgets(line, sizeof line, f)) {
        const char *value = strncmp(line, "model name", 10) == 0 ? strchr(line, ':') : NULL;
        if (!value) continue;
        value += 1 + strspn(value + 1, " \t");
        snprintf(out, room, "%.*s", (int)strcspn(value, "\n"), value);
        break;
    }
    if (f) fclose(f);
}

static const char *isa_name(Isa isa) {
#ifdef __x86_64__
    static const char *const names[ISA_COUNT] = {"base", "avx2", "avx512"};
#else
    static const char *const names[ISA_COUNT] = {"base"};
#endif
    return names[isa];
}

static void put_text(Buf *out, const char *key, const char *value) {
    buf_printf(out, "\"%s\":", key);
    json_put_string(out, value);
    buf_putc(out, ',');
}

void train_record_put(Buf *out, const TrainModel *m, const char *libraries) {
    char cpu[128];
    size_t parameters = 0;
    cpu_name(cpu, sizeof cpu);
    for (uint32_t t = 0; t < m->optim.ntensors; t++) parameters += m->optim.tensors[t].size;
    buf_putc(out, '{');
    put_text(out, "cajal", build_compiler);
    put_text(out, "libraries", libraries);
    put_text(out, "cpu", cpu);
    put_text(out, "instructions", isa_name(m->step.plan->isa));
    put_text(out, "dtype", m->f64 ? "f64" : "f32");
    buf_printf(out, "\"threads\":%u,\"parameters\":%zu,\"bytes\":%zu}", m->threads, parameters, m->bytes);
}
