/* Which values of a configuration cannot work although their types are right. Pure. */
#ifndef ANTHILL_COMMON_CONFIG_LIMITS_H
#define ANTHILL_COMMON_CONFIG_LIMITS_H

#include <stdbool.h>

#include "common/config.h"

struct config_fault {
    char key[64];   /* "train.batch", "model.layers.2.rate" */
    char text[256]; /* "0 is not ..." */
};

/* False: `fault` says which key is out of its range and what was expected. */
bool config_limits_hold(const struct config *config, struct config_fault *fault);

#endif
