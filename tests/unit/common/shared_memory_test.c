/* Memory of one process that another maps: what is accepted, and what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/shared_memory.h"

enum { BYTES = 1 << 20, PLACE = 5000 };

static uint32_t pid(void)
{
    return (uint32_t)getpid();
}

static struct shared_memory make(void)
{
    struct shared_memory memory;
    struct error error = {0};
    if (shared_memory_init(&memory, BYTES, &error) != STATUS_OK) fail_msg("%s", error.text);
    return memory;
}

static void refused(enum status expected, const char *text, uint32_t owner, int fd, uint64_t bytes,
                    uint64_t nonce)
{
    struct shared_memory other;
    struct error error = {0};
    enum status status = shared_memory_map(&other, owner, (uint32_t)fd, bytes, nonce, &error);
    if (status != expected || strstr(error.text, text) == NULL)
        fail_msg("status %d: %s", status, error.text);
    assert_null(other.base);
    shared_memory_deinit(&other);
}

static void what_one_process_writes_the_other_reads(void **state)
{
    (void)state;
    struct shared_memory mine = make();
    char *bytes = mine.base;
    bytes[PLACE] = 1;
    pid_t parent = getpid();
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct shared_memory theirs;
        if (shared_memory_map(&theirs, (uint32_t)parent, (uint32_t)mine.fd, BYTES, mine.nonce,
                              NULL) != STATUS_OK)
            _exit(2);
        char *mapped = theirs.base;
        bool seen = mapped[PLACE] == 1;
        mapped[PLACE] = 2;
        shared_memory_deinit(&theirs);
        _exit(seen ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    assert_int_equal(bytes[PLACE], 2);
    shared_memory_deinit(&mine);
    shared_memory_deinit(&mine);
}

static void nobody_can_shrink_or_grow_it(void **state)
{
    (void)state;
    struct shared_memory memory = make();
    assert_int_equal(ftruncate(memory.fd, BYTES / 2), -1);
    assert_int_equal(ftruncate(memory.fd, 2 * BYTES), -1);
    shared_memory_deinit(&memory);
}

static void it_outlives_the_one_who_made_it(void **state)
{
    (void)state;
    struct shared_memory mine = make(), theirs;
    ((char *)mine.base)[PLACE] = 3;
    uint32_t fd = (uint32_t)mine.fd;
    assert_true(shared_memory_is_open(pid(), fd));
    assert_int_equal(shared_memory_map(&theirs, pid(), (uint32_t)mine.fd, BYTES, mine.nonce, NULL),
                     STATUS_OK);
    shared_memory_deinit(&mine);
    assert_false(shared_memory_is_open(pid(), fd));
    assert_int_equal(((char *)theirs.base)[PLACE], 3);
    shared_memory_deinit(&theirs);
}

static void other_memory_is_refused(void **state)
{
    (void)state;
    struct shared_memory memory = make();
    refused(STATUS_INVALID, "memory of another", pid(), memory.fd, BYTES, memory.nonce + 1);
    refused(STATUS_INVALID, "has 1048576 bytes; 2097152 expected", pid(), memory.fd, 2 * BYTES,
            memory.nonce);
    refused(STATUS_INVALID, "multiple of 4096", pid(), memory.fd, BYTES + 1, memory.nonce);
    refused(STATUS_INVALID, "multiple of 4096", pid(), memory.fd, 0, memory.nonce);
    refused(STATUS_INVALID, "multiple of 4096", pid(), memory.fd, UINT64_MAX & ~UINT64_C(4095),
            memory.nonce);
    refused(STATUS_NOT_FOUND, "/fd/99999", pid(), 99999, BYTES, memory.nonce);
    refused(STATUS_NOT_FOUND, "/proc/4294967295/", UINT32_MAX, memory.fd, BYTES, memory.nonce);
    uint64_t magic = 0;
    memcpy(memory.base, &magic, sizeof magic);
    refused(STATUS_INVALID, "memory of another", pid(), memory.fd, BYTES, memory.nonce);
    shared_memory_deinit(&memory);
}

static void what_can_shrink_is_refused(void **state)
{
    (void)state;
    struct shared_memory memory = make();
    int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, BYTES), 0);
    assert_int_equal(pwrite(fd, memory.base, 64, 0), 64); /* the right header */
    refused(STATUS_INVALID, "can shrink", pid(), fd, BYTES, memory.nonce);
    assert_int_equal(ftruncate(fd, BYTES / 2), 0);
    refused(STATUS_INVALID, "has 524288 bytes", pid(), fd, BYTES, memory.nonce);
    close(fd);
    shared_memory_deinit(&memory);
}

static void files_and_pipes_are_refused(void **state)
{
    (void)state;
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    refused(STATUS_INVALID, "is no shared memory", pid(), ends[0], BYTES, 1);
    close(ends[0]);
    close(ends[1]);
    int file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    refused(STATUS_INVALID, "is no shared memory", pid(), file, BYTES, 1);
    close(file);
}

static void memory_of_no_size_is_not_made(void **state)
{
    (void)state;
    struct shared_memory memory;
    assert_int_equal(shared_memory_init(&memory, 0, NULL), STATUS_INVALID);
    assert_int_equal(shared_memory_init(&memory, 4097, NULL), STATUS_INVALID);
    assert_null(memory.base);
}

static void who_has_ended_is_known_and_who_has_stopped_has_not(void **state)
{
    (void)state;
    assert_false(shared_memory_process_ended(pid()));
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        raise(SIGSTOP);
        _exit(0);
    }
    int how = 0;
    assert_int_equal(waitpid(child, &how, WUNTRACED), child);
    assert_true(WIFSTOPPED(how));
    assert_false(shared_memory_process_ended((uint32_t)child));
    assert_int_equal(kill(child, SIGKILL), 0);
    siginfo_t info;
    assert_int_equal(waitid(P_PID, (id_t)child, &info, WEXITED | WNOWAIT), 0);
    assert_true(shared_memory_process_ended((uint32_t)child)); /* nobody has asked how yet */
    assert_int_equal(waitpid(child, &how, 0), child);
    assert_true(shared_memory_process_ended((uint32_t)child));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_one_process_writes_the_other_reads),
        cmocka_unit_test(nobody_can_shrink_or_grow_it),
        cmocka_unit_test(it_outlives_the_one_who_made_it),
        cmocka_unit_test(other_memory_is_refused),
        cmocka_unit_test(what_can_shrink_is_refused),
        cmocka_unit_test(files_and_pipes_are_refused),
        cmocka_unit_test(memory_of_no_size_is_not_made),
        cmocka_unit_test(who_has_ended_is_known_and_who_has_stopped_has_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
