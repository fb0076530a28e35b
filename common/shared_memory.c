#include "common/shared_memory.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#define MAGIC      UINT64_C(0x314d454d544e41) /* "ANTMEM1" */
#define SEALS      (F_SEAL_SHRINK | F_SEAL_GROW)
#define PAGE_BYTES 4096u

struct header {
    uint64_t magic, nonce;
};

static enum status check_bytes(uint64_t bytes, struct error *error)
{
    if (bytes > 0 && bytes <= SHARED_MEMORY_BYTES_MAX && bytes % PAGE_BYTES == 0) return STATUS_OK;
    return error_set(error, STATUS_INVALID,
                     "shared memory of %" PRIu64 " bytes; a multiple of %u up to %" PRIu64
                     " expected",
                     bytes, PAGE_BYTES, SHARED_MEMORY_BYTES_MAX);
}

static enum status map(int fd, uint64_t bytes, void **base, struct error *error)
{
    void *mapped = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
    if (mapped == MAP_FAILED) {
        enum status status = errno == ENOMEM ? STATUS_NOMEM : STATUS_INVALID;
        return error_set_errno(error, status, errno, "mapping %" PRIu64 " shared bytes", bytes);
    }
    (void)madvise(mapped, bytes, MADV_HUGEPAGE); /* where the system lends them: fewer faults */
    (void)madvise(mapped, bytes, MADV_DONTDUMP); /* a dump would hold it once a process */
    *base = mapped;
    return STATUS_OK;
}

/* Beyond the limit of a file's size ftruncate would not fail but end the process. */
static enum status check_limit(uint64_t bytes, struct error *error)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_FSIZE, &limit) != 0 || limit.rlim_cur >= bytes) return STATUS_OK;
    return error_set(error, STATUS_DENIED,
                     "shared memory of %" PRIu64 " bytes: files may have %llu", bytes,
                     (unsigned long long)limit.rlim_cur);
}

enum status shared_memory_init(struct shared_memory *memory, uint64_t bytes, struct error *error)
{
    *memory = (struct shared_memory){.bytes = bytes, .fd = -1};
    struct header header = {.magic = MAGIC};
    enum status status = check_bytes(bytes, error);
    if (status == STATUS_OK) status = check_limit(bytes, error);
    if (status != STATUS_OK) return status;
    if (getrandom(&header.nonce, sizeof header.nonce, 0) != sizeof header.nonce)
        return error_set_errno(error, STATUS_IO, errno, "getrandom");
    int fd = memfd_create("anthill", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0 || ftruncate(fd, (off_t)bytes) != 0 || fcntl(fd, F_ADD_SEALS, SEALS) != 0) {
        status = errno == ENOMEM ? STATUS_NOMEM : STATUS_IO;
        status = error_set_errno(error, status, errno, "memfd of %" PRIu64 " bytes", bytes);
    }
    if (status == STATUS_OK) status = map(fd, bytes, &memory->base, error);
    if (status != STATUS_OK) {
        if (fd >= 0) close(fd);
        return status;
    }
    memory->fd = fd;
    memory->nonce = header.nonce;
    memcpy(memory->base, &header, sizeof header);
    return STATUS_OK;
}

/* The file is looked at before it is opened: opening some files has effects. */
static enum status open_checked(const char *path, uint64_t bytes, int *fd, struct error *error)
{
    int at = open(path, O_PATH | O_CLOEXEC);
    if (at < 0) {
        enum status status = errno == ENOENT ? STATUS_NOT_FOUND : STATUS_DENIED;
        return error_set_errno(error, status, errno, "%s", path);
    }
    char reopened[64];
    struct stat file;
    struct statfs system;
    enum status status = STATUS_OK;
    snprintf(reopened, sizeof reopened, "/proc/self/fd/%d", at);
    if (fstat(at, &file) != 0 || fstatfs(at, &system) != 0) {
        status = error_set_errno(error, STATUS_IO, errno, "%s", path);
    } else if (!S_ISREG(file.st_mode) || system.f_type != TMPFS_MAGIC) {
        status = error_set(error, STATUS_INVALID, "%s is no shared memory", path);
    } else if (file.st_size != (off_t)bytes) {
        status = error_set(error, STATUS_INVALID, "%s has %lld bytes; %" PRIu64 " expected", path,
                           (long long)file.st_size, bytes);
    } else if ((*fd = open(reopened, O_RDWR | O_CLOEXEC)) < 0) {
        status = error_set_errno(error, STATUS_DENIED, errno, "%s", path);
    }
    close(at);
    return status;
}

enum status shared_memory_map(struct shared_memory *memory, uint32_t pid, uint32_t fd,
                              uint64_t bytes, uint64_t nonce, struct error *error)
{
    *memory = (struct shared_memory){.bytes = bytes, .nonce = nonce, .fd = -1};
    char path[64];
    snprintf(path, sizeof path, "/proc/%" PRIu32 "/fd/%" PRIu32, pid, fd);
    int opened = -1;
    enum status status = check_bytes(bytes, error);
    if (status == STATUS_OK) status = open_checked(path, bytes, &opened, error);
    if (status != STATUS_OK) return status;
    int seals = fcntl(opened, F_GET_SEALS);
    if (seals < 0 || (seals & F_SEAL_SHRINK) == 0) {
        status = error_set(error, STATUS_INVALID, "%s can shrink: a sealed memfd expected", path);
    }
    if (status == STATUS_OK) status = map(opened, bytes, &memory->base, error);
    close(opened);
    if (status != STATUS_OK) return status;
    struct header header;
    memcpy(&header, memory->base, sizeof header);
    if (header.magic == MAGIC && header.nonce == nonce) return STATUS_OK;
    shared_memory_deinit(memory);
    return error_set(error, STATUS_INVALID, "%s is the memory of another", path);
}

bool shared_memory_is_open(uint32_t pid, uint32_t fd)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%" PRIu32 "/fd/%" PRIu32, pid, fd);
    return access(path, F_OK) == 0;
}

bool shared_memory_process_ended(uint32_t pid)
{
    int process = (int)syscall(SYS_pidfd_open, (pid_t)pid, 0u);
    if (process < 0) return errno == ESRCH;
    struct pollfd ended = {.fd = process, .events = POLLIN};
    bool has = poll(&ended, 1, 0) == 1 && (ended.revents & POLLIN) != 0;
    close(process);
    return has;
}

void shared_memory_deinit(struct shared_memory *memory)
{
    if (memory->base == NULL) return;
    munmap(memory->base, memory->bytes);
    if (memory->fd >= 0) close(memory->fd);
    *memory = (struct shared_memory){.fd = -1};
}
