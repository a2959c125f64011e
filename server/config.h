/* What the daemon is told: flags, each with an environment twin (--max-body, CAJAL_MAX_BODY), from one table that also prints --help.
 *
 * A flag wins over the environment, the environment over the default. Sizes take the suffixes k, M and G (powers of 1024).
 * Ownership: strings point into argv, the environment or the table, the token excepted (config_release). */
#ifndef CAJAL_CONFIG_H
#define CAJAL_CONFIG_H
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

typedef struct {
    const char *listen;       /* HOST:PORT, [HOST]:PORT; port 0: any free one */
    const char *data;         /* directory of the database */
    const char *worker;       /* path of cajal-worker; "": beside this program */
    const char *allow_origin; /* an Origin that may drive the service; "*": any; "": none */
    const char *token_file;   /* "": none */
    const char *trust_proxy;  /* addresses whose X-Forwarded-For is believed, with commas between; "": none */
    const char *log_level;
    uint64_t workers, threads; /* 0: every core once */
    uint64_t worker_memory;    /* bytes that a worker's jobs may take; 0: a part of the machine's */
    uint64_t runs;             /* training at the same time */
    uint64_t max_body;         /* bytes of a binary body */
    uint64_t max_nat;          /* largest size of a natural */
    uint64_t max_queue;        /* jobs waiting */
    uint64_t max_inflight;     /* requests of one client address */
    uint64_t max_connections;
    uint64_t deadline_ms;      /* of a request that names none */
    uint64_t max_exec_ms;      /* a job in a worker */
    uint64_t store_bytes;      /* compiled graphs kept on disk */
    uint64_t memory_bytes;     /* compiled graphs kept in memory */
    uint64_t scrub_bytes;      /* a second, of what is held against its sums; 0: nothing is */
    uint64_t dataset_bytes;    /* data sets on disk; 0: a half of the file system */
    uint64_t checkpoint_bytes; /* runs' checkpoints on disk; 0: a quarter of the file system */
    uint64_t reserve_bytes;    /* of the disk, for deletions and the like; 0: derived (disk.h) */
    uint64_t drain_ms;         /* how long a shutdown waits for requests in flight */
    uint64_t recover;          /* 1: start whatever the database is like */
    char *token;               /* what Authorization must bring; NULL: nobody asks */
} Config;

typedef enum { CONFIG_RUN, CONFIG_STOP, CONFIG_BAD } ConfigResult;
/* STOP: --help or --version was asked for and printed to `out`. BAD: `why` says what is wrong. */
ConfigResult config_load(Config *config, int argc, char **argv, FILE *out, char *why, size_t room);
void config_release(Config *config);
/* Splits HOST:PORT; false when it is not that. host has room for 256 bytes; brackets are taken off. */
bool config_address(const char *listen, char host[256], uint16_t *port);
#endif
