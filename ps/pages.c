#include "ps/pages.h"

#include <stdint.h>
#include <sys/mman.h>

#define PAGE_BYTES      4096u
#define HUGE_PAGE_BYTES (2u << 20)

static size_t rounded(size_t bytes)
{
    size_t unit = bytes >= HUGE_PAGE_BYTES ? HUGE_PAGE_BYTES : PAGE_BYTES;
    return (bytes + unit - 1) / unit * unit;
}

void *pages_alloc(size_t bytes)
{
    if (bytes > SIZE_MAX / 2) return NULL;
    size_t size = rounded(bytes);
    size_t extra = size >= HUGE_PAGE_BYTES ? HUGE_PAGE_BYTES : 0;
    uint8_t *mapped = mmap(NULL, size + extra, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (mapped == MAP_FAILED) return NULL;
    if (extra == 0) return mapped;
    size_t before = (HUGE_PAGE_BYTES - (uintptr_t)mapped % HUGE_PAGE_BYTES) % HUGE_PAGE_BYTES;
    if (before != 0) munmap(mapped, before);
    if (extra != before) munmap(mapped + before + size, extra - before);
    /* A kernel without huge pages refuses; small ones serve then. */
    (void)madvise(mapped + before, size, MADV_HUGEPAGE);
    return mapped + before;
}

void pages_free(void *memory, size_t bytes)
{
    if (memory != NULL) munmap(memory, rounded(bytes));
}
