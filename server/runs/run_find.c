#include "server/runs/run_find.h"

bool run_not_read(Err *err, ErrCode code, const char *id) {
    if (code == ERR_not_found) return err_set(err, code, "There is no run %.100s.", id);
    return err_set(err, code, code == ERR_damaged ? "The run's record is damaged." : "The database does not answer.");
}

bool run_find(Call *call, RunGet *get, StoredRun *run) {
    Err err = {0};
    ErrCode code = get(call->server->store, call->param.text, run);
    if (!code) return true;
    run_not_read(&err, code, call->param.text);
    call_fail_err(call, &err);
    return false;
}
