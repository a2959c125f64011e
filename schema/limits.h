/* Every cap of the service, in one place; all are checked before memory is taken. */
#ifndef CAJAL_LIMITS_H
#define CAJAL_LIMITS_H
#include <stddef.h>
#include <stdint.h>

/* Requests */
#define LIMIT_JSON_BYTES ((size_t)8 << 20)
#define LIMIT_JSON_DEPTH 1000
#define LIMIT_JSON_VALUES 1000000 /* nodes of the parsed tree; arrays of numbers are one each */
#define LIMIT_BULK_BYTES ((size_t)1 << 30)
#define LIMIT_BODIES_BYTES ((size_t)4 << 30) /* of all requests in flight together, and their answers */
#define LIMIT_DISCARD_BYTES ((size_t)64 << 10) /* of a refused body, read and dropped so that the connection can be kept; beyond, the answer goes out at once */
#define LIMIT_DEADLINE_MS 86400000
#define LIMIT_TENSORS 4096      /* in one binary body */
#define LIMIT_TENSOR_RANK 18    /* axes of a tensor in a body: more than any value has, so that one too many is told from the type */
#define LIMIT_WORKER_GRAPHS 256 /* loaded in one worker */
#define LIMIT_WORKER_GRAPH_BYTES ((size_t)512 << 20)
#define LIMIT_QUARANTINE 4096   /* culprits remembered for having killed a worker */
#define LIMIT_LOOP_BYTES ((size_t)32 << 10) /* bodies and answers beyond this are handled on a thread, not in the event loop */
#define LIMIT_CALL_BYTES ((size_t)64 << 20) /* what a request takes beside its body, values and answer */
#define LIMIT_LIST 100          /* records in one page of a list */
#define LIMIT_LIST_BYTES ((size_t)1 << 20)   /* and where a page ends early */
#define LIMIT_DATASET_BYTES ((size_t)4 << 30) /* a data set's file */
#define LIMIT_DATASET_ROWS 1000 /* rows of a data set in one answer */
#define LIMIT_OUTPUTS_BYTES 4096 /* the names of outputs that an evaluation asks for */
#define LIMIT_JSON_ANSWER ((size_t)64 << 20) /* numbers as JSON; beyond: the binary forms */

/* Programs */
#define LIMIT_TEXT_DEPTH 100000
#define LIMIT_TYPE_DEPTH 1000     /* nesting in domains; arrows to the right are not nesting */
#define LIMIT_TYPE_RANK 16        /* extents of an R[...] */
#define LIMIT_TERM_NODES 2000000
#define LIMIT_NUMERAL ((uint64_t)1 << 53)
#define LIMIT_NAT_SIZE 65536      /* default; --max-nat changes it */
#define LIMIT_COMPILE_BYTES ((size_t)512 << 20) /* one compile's arena */
#define LIMIT_LOWER_STEPS ((uint64_t)20000000)  /* reductions of one lowering, sizes included */
#define LIMIT_INTERP_STEPS ((uint64_t)10000000)
#define LIMIT_INTERP_BYTES ((size_t)256 << 20)

/* Runs */
#define LIMIT_POINTS 100000 /* of one metric in an answer */
#define LIMIT_METRICS_ANSWER ((size_t)128 << 20)
#define LIMIT_RUN_BYTES ((size_t)64 << 20) /* a specification read */
#define LIMIT_RUN_NAME 100      /* bytes: of runs, data sets, columns, networks, their inputs and values */
#define LIMIT_RUN_NETS 256
#define LIMIT_RUN_VALUES 256    /* of one network, and its inputs */
#define LIMIT_RUN_LAYERS 4096   /* of all networks */
#define LIMIT_RUN_BINDS 1024    /* and columns with a scale */
#define LIMIT_RUN_STEPS ((uint64_t)1 << 40)
#define LIMIT_RUN_BATCH 65536   /* rows a step */
#define LIMIT_RUN_SOURCES 16    /* earlier runs that weights come from */
#define LIMIT_RUN_KEYS 64       /* metrics of a run */
#define LIMIT_RUN_KEPT 1000     /* checkpoints kept */
#define LIMIT_RUN_CHECKPOINT_PART 4 /* of what all runs' checkpoints may take on disk, one run's may take so much less, or two of them */
#define LIMIT_RUN_SKIPPED 1000  /* steps one after the other that are skipped for what is not finite; then the run fails */
#define LIMIT_RUN_POINTS ((uint64_t)4 << 20) /* in the database: 64 MiB. All keys have the same share, but none more than an eighth; beyond, half of a key's go */
#define LIMIT_RUN_EVENT_BYTES ((uint64_t)16 << 20) /* in the database; beyond, the oldest go */
#define LIMIT_RUN_EVENT_ROWS ((uint64_t)65536)
#define LIMIT_COLUMNS 256       /* of a data set */
#define LIMIT_ROW_RANK 8        /* axes of a column's row */
#define LIMIT_RUN_ROWS ((uint64_t)1 << 28) /* of a data set: an epoch's order takes 1 GiB */

/* Graphs */
#define LIMIT_GRAPH_NODES 200000  /* those of sub-graphs included */
#define LIMIT_GRAPH_SLOTS 16384   /* and outputs */
#define LIMIT_GRAPH_DEPTH 64      /* steps within steps */
#define LIMIT_GRAPH_RANK 64       /* axes of a node */
#define LIMIT_GRAPH_BYTES ((size_t)256 << 20)
#define LIMIT_SPACE ((size_t)1 << 28)    /* elements in one node's space */
#define LIMIT_JOB_BYTES ((size_t)1 << 30) /* a job's working memory in the worker */
#define LIMIT_JOB_MACS ((double)1e13)    /* a job's estimated multiply-adds */
#define LIMIT_ROWS ((size_t)1 << 24)

/* The daemon's flags: what each is at first, at least and at most (server/config.c) */
#define LIMIT_FLAG_workers 0, 0, 256
#define LIMIT_FLAG_threads 1, 1, 256
#define LIMIT_FLAG_worker_memory 0, 0, (uint64_t)1 << 50
#define LIMIT_FLAG_runs 1, 1, 64
#define LIMIT_FLAG_max_body LIMIT_BULK_BYTES, 1024, LIMIT_JOB_BYTES
#define LIMIT_FLAG_max_nat LIMIT_NAT_SIZE, 1, LIMIT_SPACE
#define LIMIT_FLAG_max_queue 1024, 1, 1000000
#define LIMIT_FLAG_max_inflight 256, 1, 1000000
#define LIMIT_FLAG_max_connections 4096, 8, 1000000
#define LIMIT_FLAG_deadline_ms 60000, 1, LIMIT_DEADLINE_MS
#define LIMIT_FLAG_max_exec_ms 300000, 1, LIMIT_DEADLINE_MS
#define LIMIT_FLAG_dataset_bytes 0, 0, (uint64_t)1 << 50
#define LIMIT_FLAG_checkpoint_bytes 0, 0, (uint64_t)1 << 50
#define LIMIT_FLAG_reserve_bytes 0, 0, (uint64_t)1 << 50
#define LIMIT_FLAG_drain_ms 30000, 0, LIMIT_DEADLINE_MS
#define LIMIT_FLAG_store_bytes (uint64_t)4 << 30, (uint64_t)1 << 20, (uint64_t)1 << 50
#define LIMIT_FLAG_memory_bytes (uint64_t)512 << 20, (uint64_t)1 << 20, (uint64_t)1 << 50
#define LIMIT_FLAG_scrub_bytes (uint64_t)4 << 20, 0, (uint64_t)1 << 40
#define LIMIT_THREADS 1024 /* of one worker: a run's has one a core */

/* Verification */
#define LIMIT_VERIFY_EXHAUSTIVE 4096
#define LIMIT_VERIFY_SAMPLES 256
#endif
