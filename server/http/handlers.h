/* The routes' handlers (route.c), one file per resource. Each gets a Call whose body is complete. */
#ifndef CAJAL_HANDLERS_H
#define CAJAL_HANDLERS_H
#include "server/http/call.h"

/* compile.c */
void handle_compile(Call *call);
/* programs.c */
void handle_programs(Call *call);
void handle_program(Call *call);
void handle_program_delete(Call *call);
void handle_program_graph(Call *call);
/* eval.c */
void handle_eval(Call *call);
void handle_grad(Call *call);
void handle_jvp(Call *call);
void handle_matrix(Call *call);
/* datasets.c */
void handle_datasets(Call *call);
void handle_dataset(Call *call);
void handle_dataset_rows(Call *call);
void handle_dataset_delete(Call *call);
/* datasets_put.c */
void handle_dataset_put(Call *call);
/* runs_post.c */
void handle_run_post(Call *call);
void handle_run_fork(Call *call);
/* runs.c */
void handle_runs(Call *call);
void handle_run(Call *call);
void handle_run_cancel(Call *call);
void handle_run_resume(Call *call);
void handle_run_delete(Call *call);
void handle_run_events(Call *call);
/* runs_metrics.c */
void handle_run_metrics(Call *call);
/* runs_weights.c */
void handle_run_weights(Call *call);
/* service.c */
void handle_livez(Call *call);
void handle_readyz(Call *call);
void handle_version(Call *call);
void handle_metrics(Call *call);
void handle_openapi(Call *call);
void handle_workers(Call *call);
#endif
