#include "common/check.h"

#include <stdio.h>
#include <stdlib.h>

void check_failed(const char *condition, const char *file, int line)
{
    fprintf(stderr, "%s:%d: bug: %s does not hold\n", file, line, condition);
    abort();
}
