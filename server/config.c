#include "server/config.h"
#include "schema/base/log.h"
#include "schema/limits.h"
#include "server/version.h"
#include <ctype.h>
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

typedef enum { OPTION_TEXT, OPTION_COUNT, OPTION_BYTES, OPTION_SWITCH } OptionKind; /* SWITCH: no value; its variable is 1 */
typedef struct {
    const char *name, *value;
    OptionKind kind;
    size_t offset;
    const char *help;
    const char *text;              /* what a text is at first */
    uint64_t initial, least, most; /* of a number: schema/limits.h */
} Option;

#define TEXT(name, value, field, initial, help) {name, value, OPTION_TEXT, offsetof(Config, field), help, initial, 0, 0, 0}
#define NUMBER(name, value, kind, field, help, ...) {name, value, kind, offsetof(Config, field), help, NULL, __VA_ARGS__}
#define SWITCH(name, field, help) {name, "", OPTION_SWITCH, offsetof(Config, field), help, NULL, 0, 0, 1}
#define COUNT(name, field, help) NUMBER(name, "N", OPTION_COUNT, field, help, LIMIT_FLAG_##field)
#define BYTES(name, field, help) NUMBER(name, "BYTES", OPTION_BYTES, field, help, LIMIT_FLAG_##field)

static const Option options[] = {
    TEXT("listen", "HOST:PORT", listen, "127.0.0.1:8420", "address to serve; port 0 is any free one, named in the ready line"),
    TEXT("data", "DIR", data, "cajal-data", "directory of the database, made when missing"),
    SWITCH("recover", recover, "start although the database is lost or damaged, with what can be read of it; the rest goes to lost+found"),
    COUNT("workers", workers, "worker processes, of which one is kept for short jobs; 0: as many as use every core once, and that one"),
    COUNT("threads", threads, "threads of a worker"),
    BYTES("worker-memory", worker_memory, "memory that a worker may take for its jobs; 0: its part of the machine's or container's"),
    COUNT("runs", runs, "training runs at the same time, each in a process of its own with a thread a core"),
    TEXT("worker", "PATH", worker, "", "the worker program; default: cajal-worker beside this one"),
    BYTES("max-body", max_body, "largest binary body"),
    COUNT("max-nat", max_nat, "largest size of a natural"),
    COUNT("max-queue", max_queue, "jobs that may wait for a worker"),
    COUNT("max-inflight", max_inflight, "requests in flight of one client address"),
    COUNT("max-connections", max_connections, "open connections"),
    COUNT("deadline", deadline_ms, "milliseconds a request may take that brings no X-Deadline-Ms"),
    COUNT("max-exec", max_exec_ms, "milliseconds a job may run in a worker, whatever X-Deadline-Ms says"),
    BYTES("store", store_bytes, "compiled graphs kept on disk"),
    BYTES("memory", memory_bytes, "compiled graphs kept in memory"),
    BYTES("scrub", scrub_bytes, "read a second to hold all that is stored against its checksums, once a day; 0: not at all"),
    BYTES("max-datasets", dataset_bytes, "data sets on disk; 0: a half of the file system"),
    BYTES("max-checkpoints", checkpoint_bytes, "runs' checkpoints on disk, one run's a quarter of it; 0: a quarter of the file system"),
    BYTES("reserve", reserve_bytes, "disk that only deletions and runs' states may use; 0: a hundredth of the file system, at most 1G"),
    COUNT("drain", drain_ms, "milliseconds a shutdown waits for requests in flight"),
    TEXT("allow-origin", "ORIGIN", allow_origin, "", "web origin that may drive the service; * for any"),
    TEXT("token-file", "PATH", token_file, "", "file with the token that clients must bring; or CAJAL_TOKEN"),
    TEXT("trust-proxy", "ADDRESS,…", trust_proxy, "", "proxies whose X-Forwarded-For names the client that caps are counted for"),
    TEXT("log-level", "LEVEL", log_level, "info", "debug, info, warn or error"),
};
enum { NOPTIONS = sizeof options / sizeof *options };

static void env_name(const Option *o, char out[64]) {
    int n = snprintf(out, 64, "CAJAL_%s", o->name);
    for (int i = 0; i < n; i++) out[i] = out[i] == '-' ? '_' : (char)toupper((unsigned char)out[i]);
}

/* As it would be given: bytes in the largest unit that they are whole numbers of. */
static void put_initial(const Option *o, char out[64]) {
    static const char units[] = {0, 'k', 'M', 'G'};
    uint64_t n = o->initial;
    int unit = 0;
    while (o->kind == OPTION_BYTES && unit < 3 && n && n % 1024 == 0) n /= 1024, unit++;
    if (o->kind == OPTION_TEXT) snprintf(out, 64, "%s", o->text);
    else snprintf(out, 64, "%llu%.1s", (unsigned long long)n, &units[unit]);
}

static void print_help(FILE *out) {
    fprintf(out, "usage: cajald [--OPTION VALUE]…\n\nThe Cajal daemon: compiles programs to neurons and runs them, over HTTP.\n\n");
    for (int i = 0; i < NOPTIONS; i++) {
        char left[64], env[64], initial[64];
        const Option *o = &options[i];
        snprintf(left, sizeof left, "--%s %s", o->name, o->value);
        env_name(o, env);
        put_initial(o, initial);
        if (o->kind == OPTION_SWITCH) fprintf(out, "  %-24s %s (%s=1)\n", left, o->help, env);
        else fprintf(out, "  %-24s %s (%s%s%s)\n", left, o->help, env, *initial ? ", " : "", initial);
    }
    fprintf(out, "  %-24s print this\n  %-24s print the version\n", "--help", "--version");
}

static bool read_number(const Option *o, const char *text, uint64_t *out) {
    char *end;
    errno = 0;
    unsigned long long v = strtoull(text, &end, 10);
    if (errno || end == text || !isdigit((unsigned char)*text)) return false;
    uint64_t unit = 1;
    if (o->kind == OPTION_BYTES && *end) {
        unit = *end == 'k' ? 1u << 10 : *end == 'M' ? 1u << 20 : *end == 'G' ? 1u << 30 : 0;
        end++;
    }
    return unit && !*end && !__builtin_mul_overflow((uint64_t)v, unit, out) && *out >= o->least && *out <= o->most;
}

static bool set(Config *config, const Option *o, const char *text, char *why, size_t room) {
    void *field = (char *)config + o->offset;
    if (o->kind == OPTION_TEXT) {
        *(const char **)field = text;
        return true;
    }
    if (read_number(o, text, field)) return true;
    snprintf(why, room, "--%s: \"%s\" is not a number between %llu and %llu", o->name, text, (unsigned long long)o->least,
             (unsigned long long)o->most);
    return false;
}

static void set_initial(Config *config, const Option *o) {
    void *field = (char *)config + o->offset;
    if (o->kind == OPTION_TEXT) *(const char **)field = o->text;
    else *(uint64_t *)field = o->initial;
}

static const Option *option_of(const char *name, size_t len) {
    for (int i = 0; i < NOPTIONS; i++)
        if (strlen(options[i].name) == len && memcmp(options[i].name, name, len) == 0) return &options[i];
    return NULL;
}

static bool load_defaults(Config *config, char *why, size_t room) {
    for (int i = 0; i < NOPTIONS; i++) {
        char env[64];
        env_name(&options[i], env);
        const char *value = getenv(env);
        if (!value || !*value) set_initial(config, &options[i]);
        else if (!set(config, &options[i], value, why, room)) return false;
    }
    return true;
}

static ConfigResult load_flags(Config *config, int argc, char **argv, FILE *out, char *why, size_t room) {
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            print_help(out);
            return CONFIG_STOP;
        }
        if (strcmp(argv[i], "--version") == 0) {
            fprintf(out, "cajald %s\n", CAJAL_VERSION);
            return CONFIG_STOP;
        }
        const char *name = strncmp(argv[i], "--", 2) == 0 ? argv[i] + 2 : "", *equals = strchr(name, '=');
        const Option *o = option_of(name, equals ? (size_t)(equals - name) : strlen(name));
        const bool alone = o && o->kind == OPTION_SWITCH && !equals;
        const char *value = alone ? "1" : equals ? equals + 1 : i + 1 < argc ? argv[i + 1] : NULL;
        if (!o || !value) {
            snprintf(why, room, o ? "--%s needs a value" : "unknown argument %s; see --help", o ? o->name : argv[i]);
            return CONFIG_BAD;
        }
        if (!set(config, o, value, why, room)) return CONFIG_BAD;
        if (!equals && !alone) i++;
    }
    return CONFIG_RUN;
}

static bool load_token(Config *config, char *why, size_t room) {
    const char *direct = getenv("CAJAL_TOKEN");
    char line[1024] = "";
    if (*config->token_file) {
        FILE *f = fopen(config->token_file, "re");
        bool read = f && fgets(line, sizeof line, f);
        if (f) fclose(f);
        line[strcspn(line, "\r\n")] = 0;
        if (!read || !*line) {
            snprintf(why, room, "--token-file: no token in %s", config->token_file);
            return false;
        }
        direct = line;
    }
    if (!direct || !*direct) return true;
    config->token = strdup(direct);
    return config->token != NULL;
}

/* As browsers write an Origin: scheme and host, and a port perhaps, with nothing behind. */
static bool is_origin(const char *text) {
    const char *host = strstr(text, "://");
    return host && host > text && host[3] && strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789+-.") == (size_t)(host - text) &&
           !host[3 + strcspn(host + 3, "/?#@, \t")];
}

static bool check_texts(const Config *config, char *why, size_t room) {
    char host[256];
    uint16_t port;
    const char *origin = config->allow_origin;
    if (log_level_of(config->log_level) < 0)
        snprintf(why, room, "--log-level: \"%s\" is none of debug, info, warn, error", config->log_level);
    else if (!config_address(config->listen, host, &port))
        snprintf(why, room, "--listen: \"%s\" is not HOST:PORT", config->listen);
    else if (*origin && strcmp(origin, "*") != 0 && !is_origin(origin))
        snprintf(why, room, "--allow-origin: \"%s\" is neither * nor an origin, like https://notebook.example", origin);
    else return true;
    return false;
}

ConfigResult config_load(Config *config, int argc, char **argv, FILE *out, char *why, size_t room) {
    *config = (Config){0};
    *why = 0;
    if (!load_defaults(config, why, room)) return CONFIG_BAD;
    ConfigResult result = load_flags(config, argc, argv, out, why, room);
    if (result != CONFIG_RUN) return result;
    return check_texts(config, why, room) && load_token(config, why, room) ? CONFIG_RUN : CONFIG_BAD;
}

void config_release(Config *config) {
    free(config->token);
    config->token = NULL;
}

bool config_address(const char *listen, char host[256], uint16_t *port) {
    const char *colon = strrchr(listen, ':');
    if (!colon || colon == listen) return false;
    size_t len = (size_t)(colon - listen);
    bool bracketed = *listen == '[' && listen[len - 1] == ']';
    if (bracketed) {
        listen++;
        len -= 2;
    }
    size_t digits = strspn(colon + 1, "0123456789");
    unsigned long n = strtoul(colon + 1, NULL, 10);
    if (!len || len > 255 || digits < 1 || digits > 5 || colon[1 + digits] || n > 65535) return false;
    memcpy(host, listen, len);
    host[len] = 0;
    if (host[strcspn(host, bracketed ? " \t[]" : " \t[]:")]) return false;
    *port = (uint16_t)n;
    return true;
}
