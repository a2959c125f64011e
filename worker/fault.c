#include "worker/fault.h"
#include <stdarg.h>
#include <stdio.h>

bool fault_set(Fault *fault, ErrCode code, const char *format, ...) {
    if (fault->code != ERR_NONE) return false;
    va_list args;
    va_start(args, format);
    vsnprintf(fault->message, sizeof fault->message, format, args);
    va_end(args);
    fault->code = code;
    return false;
}
