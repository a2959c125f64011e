/* GET of a list, a page at a time: ?limit= and ?page_token= in, {"<member>":[…],"next_page_token":…} out.
 *
 *     List list;
 *     if (list_begin(&list, call, "programs"))
 *         list_end(&list, store_programs(store, &list.after, list.limit, put_row, &list, &list.last));
 *
 * where put_row appends a record to list_next(list) and returns list_has_room(list).
 * Ownership: what list_begin has begun, list_end answers and releases. */
#ifndef CAJAL_LIST_H
#define CAJAL_LIST_H
#include "server/http/call.h"

typedef struct {
    Call *call;
    uint64_t limit;    /* records wanted, at most */
    StorePlace after;  /* where the page before ended; key "" for the first page */
    StorePlace last;   /* of this page's last record; key "": nothing is behind it */
    Buf body;
} List;

/* Reads the query. False: answered with bad_request. */
bool list_begin(List *list, Call *call, const char *member);
/* Where the next record goes, behind a comma if one is due. */
Buf *list_next(List *list);
/* Another record may follow: the page is not too large yet, and memory has not run short. */
bool list_has_room(const List *list);
/* Answers: with the page, or when `code` says that reading failed, with internal. */
void list_end(List *list, ErrCode code);
#endif
