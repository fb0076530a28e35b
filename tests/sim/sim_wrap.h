/* The calls that the linker wraps: __wrap_X stands in for X, __real_X is X. tests/CMakeLists.txt
 * has the same list. */
#ifndef ANTHILL_TESTS_SIM_SIM_WRAP_H
#define ANTHILL_TESTS_SIM_SIM_WRAP_H

#include <dirent.h>
#include <fts.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "common/log.h"
#include "ps/checkpoint_cut.h"
#include "ps/shard.h"

#define WRAPPED(result, name, ...)                                                                 \
    result __real_##name(__VA_ARGS__);                                                             \
    result __wrap_##name(__VA_ARGS__)

/* sim_disk.c */
WRAPPED(int, open, const char *path, int flags, ...);
WRAPPED(int, close, int fd);
WRAPPED(ssize_t, read, int fd, void *data, size_t bytes);
WRAPPED(ssize_t, pread, int fd, void *data, size_t bytes, off_t offset);
WRAPPED(ssize_t, write, int fd, const void *data, size_t bytes);
WRAPPED(off_t, lseek, int fd, off_t offset, int whence);
WRAPPED(int, ftruncate, int fd, off_t size);
WRAPPED(int, fsync, int fd);
WRAPPED(int, fdatasync, int fd);
WRAPPED(int, flock, int fd, int operation);
WRAPPED(int, rename, const char *from, const char *to);
WRAPPED(int, renameat2, int from_folder, const char *from, int to_folder, const char *to,
        unsigned flags);
WRAPPED(int, mkdir, const char *path, mode_t mode);
WRAPPED(int, unlink, const char *path);
WRAPPED(int, rmdir, const char *path);
WRAPPED(int, access, const char *path, int mode);
WRAPPED(int, stat, const char *path, struct stat *info);
WRAPPED(int, lstat, const char *path, struct stat *info);
WRAPPED(int, fstat, int fd, struct stat *info);
WRAPPED(char *, realpath, const char *path, char *resolved);
/* sim_folders.c */
WRAPPED(DIR *, opendir, const char *path);
WRAPPED(struct dirent *, readdir, DIR *folder);
WRAPPED(int, closedir, DIR *folder);
WRAPPED(FTS *, fts_open, char *const *paths, int options,
        int (*compare)(const FTSENT **, const FTSENT **));
WRAPPED(FTSENT *, fts_read, FTS *tree);
WRAPPED(int, fts_close, FTS *tree);
WRAPPED(void *, mmap, void *where, size_t bytes, int protection, int flags, int fd, off_t offset);
WRAPPED(int, munmap, void *memory, size_t bytes);
/* sim_pages.c */
WRAPPED(void *, pages_alloc, size_t bytes);
WRAPPED(void, pages_free, void *memory, size_t bytes);

/* sim_world.c */
WRAPPED(void, log_event, enum log_level level, const char *event, const char *format, ...);
WRAPPED(void, check_failed, const char *condition, const char *file, int line);

/* sim_model.c */
WRAPPED(enum status, shard_create, struct shard **shard, const struct shard_options *options);
WRAPPED(void, shard_destroy, struct shard *shard);
WRAPPED(void, shard_handle, struct shard *shard, uint64_t now_ns, const struct message *message,
        struct outbox *outbox);
WRAPPED(void, shard_sessions_gone, struct shard *shard, const uint64_t *sessions, uint32_t count,
        struct outbox *outbox);
WRAPPED(void, shard_clear, struct shard *shard);
WRAPPED(void, shard_log_changes, struct shard *shard, struct change_log *log);
WRAPPED(uint64_t, shard_log_close, struct shard *shard);
WRAPPED(enum status, shard_take_changes, struct shard *shard, const struct message *message,
        struct error *error);
WRAPPED(void, shard_set_copy, struct shard *shard, bool copy, struct outbox *outbox);
WRAPPED(enum status, checkpoint_cut_begin, struct checkpoint_cut **cut, const struct shard *shard,
        const struct cut_options *options, struct error *error);

#endif
