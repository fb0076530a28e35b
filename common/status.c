#include "common/status.h"

static const struct {
    const char *name;
    int exit_code;
} table[] = {
    [STATUS_OK] = {"ok", 0},
    [STATUS_USAGE] = {"usage", 64},
    [STATUS_CORRUPT] = {"corrupt", 65},
    [STATUS_NOT_FOUND] = {"not found", 66},
    [STATUS_UNAVAILABLE] = {"unavailable", 69},
    [STATUS_NOMEM] = {"out of memory", 75},
    [STATUS_IO] = {"input/output", 74},
    [STATUS_BUSY] = {"busy", 75},
    [STATUS_DENIED] = {"denied", 77},
    [STATUS_CONFIG] = {"configuration", 78},
    [STATUS_INVALID] = {"invalid", 65},
    [STATUS_STOPPED] = {"stopped", 75},
    [STATUS_EXPIRED] = {"expired", 75},
};

const char *status_name(enum status status)
{
    if ((unsigned)status >= sizeof table / sizeof *table) return "unknown";
    return table[status].name;
}

int status_exit_code(enum status status)
{
    if ((unsigned)status >= sizeof table / sizeof *table) return 70;
    return table[status].exit_code;
}
