/* Our own bugs end the process, in release builds too. Never used on what comes from outside. */
#ifndef ANTHILL_COMMON_CHECK_H
#define ANTHILL_COMMON_CHECK_H

/* Prints the condition and its place to stderr and aborts when `condition` is false. */
#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (__builtin_expect(!(condition), 0)) check_failed(#condition, __FILE__, __LINE__);       \
    } while (0)

__attribute__((noreturn)) void check_failed(const char *condition, const char *file, int line);

#endif
