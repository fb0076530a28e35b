/* Pages for tables out of one stretch that is given back as a whole after each run: a table of a
 * few rows would spend most of a run's time in the kernel. */
#include <sys/mman.h>

#include "common/check.h"
#include "tests/sim/sim.h"
#include "tests/sim/sim_wrap.h"

#define STRETCH_BYTES (UINT64_C(64) << 30) /* of addresses; memory is taken as it is touched */
#define HUGE_BYTES    (UINT64_C(2) << 20)
#define SMALL_BYTES   UINT64_C(4096)

static struct {
    uint8_t *base;
    uint64_t used;
} pages;

void *__wrap_pages_alloc(size_t bytes)
{
    if (pages.base == NULL) {
        pages.base = __real_mmap(NULL, STRETCH_BYTES, PROT_READ | PROT_WRITE,
                                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        CHECK(pages.base != MAP_FAILED);
    }
    uint64_t unit = bytes >= HUGE_BYTES ? HUGE_BYTES : SMALL_BYTES;
    uint64_t begin = (pages.used + unit - 1) / unit * unit;
    CHECK(bytes <= STRETCH_BYTES - begin);
    pages.used = begin + bytes;
    return pages.base + begin;
}

void __wrap_pages_free(void *memory, size_t bytes)
{
    (void)memory;
    (void)bytes;
}

void pages_give_back(void)
{
    if (pages.used > 0) CHECK(madvise(pages.base, pages.used, MADV_DONTNEED) == 0);
    pages.used = 0;
}
