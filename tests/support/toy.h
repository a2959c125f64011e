/* A run that trains in moments: a matrix learned from 256 rows of four numbers. */
#ifndef CAJAL_TEST_TOY_H
#define CAJAL_TEST_TOY_H
#include "tests/support/ask.h"

enum { TOY_ID = 32 };
/* Puts the data set "toy": x, y f32 [4], label i64 []. */
void toy_data(Ask *a);
/* The specification, for ask(): ' for ". checkpoint and evaluation every `every` steps. */
void toy_spec(char out[1000], uint64_t steps, uint64_t every);
/* Posts it; the run's id. */
void toy_post(Ask *a, uint64_t steps, uint64_t every, char id[TOY_ID]);
/* GET /runs/{id} until it is in this state, for at most 60 s; the last answer is the record. Another state that it would not leave by itself fails the
 * test. */
void toy_wait(Ask *a, const char *id, const char *state);
/* Posts it and waits until it is done. */
void toy_run(Ask *a, uint64_t steps, uint64_t every, char id[TOY_ID]);
/* Until it has done so many steps. */
void toy_wait_step(Ask *a, const char *id, uint64_t step);
/* The weights of the newest checkpoint, as GET /runs/{id}/weights gives them; append to an empty buffer. */
void toy_weights(Ask *a, const char *id, Buf *out);
/* The process that trains; 0: there is none. */
pid_t toy_trainer(const Ask *a);
/* A route with the run's id: toy_route(buf, "GET", id, "/weights"). */
const char *toy_route(char out[128], const char *method, const char *id, const char *rest);
#endif
