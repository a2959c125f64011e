#include "client/cli/cli_progress.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

enum { BAR_MOST = 24, BAR_LEAST = 6, FRAME = 3 /* [, ] and a blank */ };
/* Seconds between two showings. */
#define BAR_SECONDS 0.1
#define LINE_SECONDS 5.0

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

bool cli_progress_can_rewrite(void) {
    const char *kind = getenv("TERM");
    return isatty(STDOUT_FILENO) && kind && *kind && strcmp(kind, "dumb") != 0;
}

/* Non-finite numbers come as strings. */
static double value_of(const cJSON *v) { return cJSON_IsNumber(v) ? v->valuedouble : v->valuestring ? strtod(v->valuestring, NULL) : NAN; }

static void take_values(CliProgress *p, const cJSON *values) {
    const cJSON *v;
    cJSON_ArrayForEach(v, values) {
        int i = 0;
        while (i < p->nlatest && strcmp(p->latest[i].key, v->string) != 0) i++;
        if (i == PROGRESS_METRICS || strlen(v->string) >= PROGRESS_KEY) continue;
        if (i == p->nlatest) strcpy(p->latest[p->nlatest++].key, v->string);
        p->latest[i].value = value_of(v);
    }
}

/* Seconds of the epoch; 0: no time. */
static double time_of(const char *text) {
    struct tm t = {0};
    double seconds = 0;
    if (sscanf(text, "%d-%d-%dT%d:%d:%lfZ", &t.tm_year, &t.tm_mon, &t.tm_mday, &t.tm_hour, &t.tm_min, &seconds) != 6) return 0;
    t.tm_year -= 1900;
    t.tm_mon--;
    return (double)timegm(&t) + seconds;
}

/* By the events' own times: those of long ago come all at once. */
static void take_speed(CliProgress *p, double time) {
    double passed = time - p->speed_time;
    if (p->step >= p->speed_step && p->speed_time && passed <= (p->speed > 0 ? 1 : 0.2)) return;
    if (p->step >= p->speed_step && p->speed_time) {
        double fresh = (p->step - p->speed_step) / passed;
        p->speed = p->speed > 0 ? 0.8 * p->speed + 0.2 * fresh : fresh;
    }
    p->speed_step = p->step;
    p->speed_time = time;
}

void cli_progress_metric(CliProgress *p, const cJSON *event) {
    take_values(p, cli_member(event, "values"));
    take_speed(p, time_of(cli_member_text(event, "time")));
}

void cli_progress_restart(CliProgress *p) { p->speed = p->speed_step = p->speed_time = 0; }

static void put_left(const CliProgress *p, Buf *out) {
    double left = (p->steps - p->step) / p->speed;
    if (left < 1) return;
    if (left < 3600) buf_printf(out, ", %d:%02d left", (int)left / 60, (int)left % 60);
    else if (left < 1e9) buf_printf(out, ", %d:%02d h left", (int)(left / 3600), (int)left / 60 % 60);
}

/* Without the bar; of the metrics the first, which is the loss, and the last `kept`. */
static void put_status(const CliProgress *p, int kept, Buf *out) {
    buf_printf(out, "%.0f/%.0f", p->step, p->steps);
    if (p->speed > 0) {
        buf_printf(out, p->speed < 100 ? " (%.3g/s" : " (%.0f/s", p->speed);
        put_left(p, out);
        buf_putc(out, ')');
    }
    for (int i = 0; i < p->nlatest; i++)
        if (i == 0 || i >= p->nlatest - kept) buf_printf(out, "  %s %.4g", p->latest[i].key, p->latest[i].value);
}

static size_t terminal_width(void) {
    struct winsize size;
    return ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col ? size.ws_col : 80;
}

/* As many metrics as leave room for a bar; the last column stays free, else some terminals go on to the next line. */
static void show_bar(const CliProgress *p) {
    size_t width = terminal_width() - 1, len = 0;
    Buf text;
    buf_init(&text);
    for (int kept = p->nlatest; kept >= 0; kept--) {
        buf_clear(&text);
        put_status(p, kept, &text);
        len = strlen(buf_text(&text));
        if (len + FRAME + BAR_LEAST <= width) break;
    }
    double part = p->steps > 0 ? p->step / p->steps : 0;
    int room = len + FRAME + BAR_LEAST > width ? 0 : (int)(width - len - FRAME), bar = room < BAR_MOST ? room : BAR_MOST;
    int full = part < 1 ? (int)(part * bar) : bar;
    fputc('\r', stdout);
    if (bar) printf("[%.*s%*s] ", full, "########################", bar - full, "");
    printf("%.*s\033[K", (int)width, buf_text(&text));
    buf_release(&text);
}

void cli_progress_show(CliProgress *p, bool must) {
    double time = now();
    if (!must && p->shown > 0 && time - p->shown < (p->bar ? BAR_SECONDS : LINE_SECONDS)) return;
    Buf text;
    buf_init(&text);
    put_status(p, p->nlatest, &text);
    if (p->bar) show_bar(p);
    else printf("%s\n", buf_text(&text));
    fflush(stdout);
    buf_release(&text);
    p->shown = time;
}

void cli_progress_say(const CliProgress *p, const char *what, const char *more) {
    printf("%s%s%s", p->bar ? "\r\033[K" : "", what, *more ? ": " : "");
    cli_print_plain(stdout, more);
    putchar('\n');
    fflush(stdout);
}
