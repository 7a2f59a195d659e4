#include "text.h"

enum { SCALE_MOST = 18, EXPONENT_MOST = 1000000 };

static bool is_digit(uint8_t byte) {
    return byte >= '0' && byte <= '9';
}

/* The compiler's own overflow check of 64 bits calls a function of 128 bits, which no library is here for. */
bool append_digit(uint64_t *value, uint64_t digit) {
    if (*value > (UINT64_MAX - digit) / 10) {
        return false;
    }
    *value = *value * 10 + digit;
    return true;
}

bool multiply(int64_t *value, int64_t factor) {
    if (*value > INT64_MAX / factor || *value < INT64_MIN / factor) {
        return false;
    }
    *value *= factor;
    return true;
}

static bytes_t digits_of(const uint8_t **at, const uint8_t *end) {
    const uint8_t *start = *at;
    while (*at < end && is_digit(**at)) {
        (*at)++;
    }
    return (bytes_t){start, (size_t)(*at - start)};
}

static bool accumulate(bytes_t digits, uint64_t *value) {
    for (size_t index = 0; index < digits.len; index++) {
        if (!append_digit(value, (uint64_t)(digits.ptr[index] - '0'))) {
            return false;
        }
    }
    return true;
}

/* What stands behind the `e`. */
static bool exponent_of(const uint8_t *at, const uint8_t *end, int64_t *exponent) {
    bool negative = at < end && *at == '-';
    if (at < end && (*at == '-' || *at == '+')) {
        at++;
    }
    bytes_t digits = digits_of(&at, end);
    if (digits.len == 0 || at != end) {
        return false;
    }
    // Beyond the bound every exponent is out of range alike.
    uint64_t value = 0;
    if (!accumulate(digits, &value) || value > EXPONENT_MOST) {
        value = EXPONENT_MOST;
    }
    *exponent = negative ? -(int64_t)value : (int64_t)value;
    return true;
}

/* Brings a mantissa with any number of places to the smallest scale from 0 to 18. */
static bool settle(uint64_t mantissa, int64_t places, bool negative, number_t *number) {
    if (mantissa == 0) {
        *number = (number_t){0, 0};
        return true;
    }
    while (places > 0 && mantissa % 10 == 0) {
        mantissa /= 10;
        places--;
    }
    while (places < 0) {
        if (!append_digit(&mantissa, 0)) {
            return false;
        }
        places++;
    }
    if (places > SCALE_MOST || mantissa > INT64_MAX) {
        return false;
    }
    *number = (number_t){negative ? -(int64_t)mantissa : (int64_t)mantissa, (uint8_t)places};
    return true;
}

bool decimal_parse(bytes_t text, number_t *number) {
    const uint8_t *at = text.ptr, *end = text.ptr + text.len;
    bool negative = at < end && *at == '-';
    at += negative;
    bytes_t integer = digits_of(&at, end), fraction = {at, 0};
    if (at < end && *at == '.') {
        at++;
        fraction = digits_of(&at, end);
        if (fraction.len == 0) {
            return false;
        }
    }
    int64_t exponent = 0;
    if (at < end) {
        if ((*at != 'e' && *at != 'E') || !exponent_of(at + 1, end, &exponent)) {
            return false;
        }
    }
    if (integer.len == 0) {
        return false;
    }
    while (fraction.len > 0 && fraction.ptr[fraction.len - 1] == '0') {
        fraction.len--;
    }
    uint64_t mantissa = 0;
    return accumulate(integer, &mantissa) && accumulate(fraction, &mantissa) &&
           settle(mantissa, (int64_t)fraction.len - exponent, negative, number);
}

bool decimal_rescale(number_t number, uint8_t scale, int64_t *mantissa) {
    *mantissa = number.mantissa;
    for (; number.scale < scale; number.scale++) {
        if (!multiply(mantissa, 10)) {
            return false;
        }
    }
    for (; number.scale > scale; number.scale--) {
        if (*mantissa % 10 != 0) {
            return false;
        }
        *mantissa /= 10;
    }
    return true;
}
