#include "server/workers/batch.h"
#include <stdlib.h>

/* How far a queue is searched, what a frame may hold in either direction, and how much work (about a millisecond's). */
enum { SEARCHED = 256, MOST_BYTES = 40 * 1024, ITEM_BYTES = 160, TENSOR_BYTES = 40 };
#define MOST_COST 2e6

void job_free(Job *job) {
    buf_release(&job->spec.body);
    free(job);
}

void job_list_add(JobList *list, Job *job, bool front) {
    job->prev = front ? NULL : list->last;
    job->next = front ? list->first : NULL;
    *(job->prev ? &job->prev->next : &list->first) = job;
    *(job->next ? &job->next->prev : &list->last) = job;
    list->count++;
}

void job_list_remove(JobList *list, Job *job) {
    *(job->prev ? &job->prev->next : &list->first) = job->next;
    *(job->next ? &job->next->prev : &list->last) = job->prev;
    list->count--;
}

void job_list_clear(JobList *list) {
    for (Job *job; (job = list->first);) {
        job_list_remove(list, job);
        job_free(job);
    }
}

/* ---- filling ---- */

typedef struct {
    Job *last[PARCEL_ITEMS]; /* of each item */
    bool mergeable[PARCEL_ITEMS];
    size_t values, results, searched;
    double cost;
} Load;

static bool may_travel(const Job *job) { return job->spec.type == FRAME_run && job->spec.run->small && !job->alone; }

static size_t head_bytes(const Run *run) { return ITEM_BYTES + TENSOR_BYTES * ((size_t)run->msg.ntensors + run->msg.nresults); }

/* Puts the job behind `last` in the parcel's list, or at its end. */
static void insert(Parcel *p, Job *job, Job *last) {
    job->parcel = p;
    if (!last || !last->next) {
        job_list_add(&p->jobs, job, false);
        return;
    }
    job->prev = last;
    job->next = last->next;
    job->prev->next = job->next->prev = job;
    p->jobs.count++;
}

/* The item that the run can be merged into, or a new one; PARCEL_ITEMS when there is no place left. */
static uint32_t item_for(Parcel *p, Load *load, const Run *run) {
    bool mergeable = run_mergeable(run);
    for (uint32_t i = 0; mergeable && i < p->nitems; i++) {
        const Item *item = &p->items[i];
        if (load->mergeable[i] && item->members < RUN_MEMBERS && item->values + run->msg.inline_len <= WIRE_INLINE_AREA &&
            item->results + run_result_bytes(run) <= WIRE_INLINE_AREA && run_goes_with(load->last[i]->spec.run, run))
            return i;
    }
    if (p->nitems == PARCEL_ITEMS) return PARCEL_ITEMS;
    p->items[p->nitems] = (Item){0};
    load->last[p->nitems] = NULL;
    load->mergeable[p->nitems] = mergeable;
    return p->nitems++;
}

static void take(Parcel *p, Load *load, JobList *queue, Job *job) {
    const Run *run = job->spec.run;
    uint32_t i = item_for(p, load, run);
    if (i == PARCEL_ITEMS) return;
    Item *item = &p->items[i];
    job_list_remove(queue, job);
    insert(p, job, load->last[i]);
    load->last[i] = job;
    job->item = i;
    job->row0 = item->rows;
    item->members++;
    item->rows += run->msg.rows;
    item->values += run->msg.inline_len;
    for (uint32_t k = 0; k < run->msg.nresults; k++) item->results += run->row_bytes[k] * run->msg.rows;
    load->values += head_bytes(run) + run->msg.inline_len;
    load->results += head_bytes(run) + run_result_bytes(run);
    load->cost += run->cost;
}

static bool has_room(const Load *load, const Run *run) {
    return load->values + head_bytes(run) + run->msg.inline_len <= MOST_BYTES &&
           load->results + head_bytes(run) + run_result_bytes(run) <= MOST_BYTES && load->cost + run->cost <= MOST_COST;
}

void parcel_fill(Parcel *p, JobList *queue, bool (*has)(const struct Desk *, uint64_t)) {
    Job *first = queue->first, *next = first->next;
    Load load;
    load.values = load.results = load.searched = 0;
    load.cost = 0;
    p->nitems = 0;
    if (!may_travel(first)) {
        job_list_remove(queue, first);
        insert(p, first, NULL);
        first->item = 0;
        p->items[p->nitems++] = (Item){.members = 1};
        return;
    }
    take(p, &load, queue, first);
    for (Job *job = next; job && load.searched++ < SEARCHED; job = next) {
        next = job->next;
        if (may_travel(job) && (job->spec.key == first->spec.key || has(p->desk, job->spec.key)) && has_room(&load, job->spec.run))
            take(p, &load, queue, job);
    }
}

bool parcel_is_small(const Parcel *p) {
    for (const Job *job = p->jobs.first; job; job = job->next)
        if (!job->spec.small) return false;
    return true;
}

bool parcel_is_wanted(const Parcel *p) {
    for (const Job *job = p->jobs.first; job; job = job->next)
        if (!job->cancelled) return true;
    return false;
}

int64_t parcel_patience(const Parcel *p) {
    int64_t least = INT64_MAX;
    bool wanted = parcel_is_wanted(p);
    for (const Job *job = p->jobs.first; job; job = job->next)
        if (job->cancelled != wanted && job->spec.patience < least) least = job->spec.patience;
    return least;
}

/* ---- frames ---- */

/* Appends the item that begins with the job; returns the first job of the next one. */
static const Job *put_item(Buf *out, const Job *job) {
    const Run *runs[RUN_MEMBERS];
    size_t n = 0;
    uint32_t item = job->item;
    for (; job && job->item == item; job = job->next) runs[n++] = job->spec.run;
    if (n == 1) wire_put_run(out, &runs[0]->msg);
    else run_put_merged(out, runs, n);
    return job;
}

const Buf *parcel_body(const Parcel *p, Buf *room, FrameType *type) {
    const Job *job = p->jobs.first;
    *type = p->nitems > 1 ? FRAME_runs : job->spec.type;
    if (*type != FRAME_run && *type != FRAME_runs) return &job->spec.body;
    if (p->nitems == 1) {
        put_item(room, job);
        return room;
    }
    while (job) {
        size_t begun = wire_begin_member(room);
        job = put_item(room, job);
        wire_end_member(room, begun);
    }
    return room;
}

/* The answer to a merged run has everybody's results, or an error. */
static bool is_whole(const Item *item, const RanMsg *ran) {
    return item->members == 1 || ran->code || ran->inline_len == item->results;
}

bool parcel_read(const Parcel *p, const Frame *frame, RanMsg rans[PARCEL_ITEMS]) {
    FrameType asked = p->jobs.first->spec.type;
    Frame member;
    uint32_t n = 0;
    if (p->nitems == 1) {
        if (asked != FRAME_run) return frame->type == (asked == FRAME_build ? FRAME_built : asked == FRAME_link ? FRAME_linked : FRAME_pong);
        return wire_get_ran(frame, &rans[0]) && is_whole(&p->items[0], &rans[0]);
    }
    Reader in = reader_of(frame->body, frame->len);
    if (frame->type != FRAME_rans) return false;
    for (; n < p->nitems && wire_next_member(frame, &in, &member); n++)
        if (!wire_get_ran(&member, &rans[n]) || !is_whole(&p->items[n], &rans[n])) return false;
    return n == p->nitems && reader_done(&in);
}
