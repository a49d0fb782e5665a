// Goal: version, build line and status names are what the header says. Method: ask for them.
#include "api_check.h"

int main(void) {
  static const char* const names[] = {
      "OK",      "INVALID_ARGUMENT", "INVALID_MODEL", "UNSUPPORTED", "OUT_OF_MEMORY", "LIMIT",
      "BUSY",    "CANCELLED",        "TIMEOUT",       "IO",          "DEVICE_LOST",   "FAULTED",
      "INTERNAL"};
  CHECK(dsv3_version() == DSV3_VERSION);
  CHECK(strncmp(dsv3_build_info(), "dsv3 0.1.0, ", 12) == 0);
  CHECK(strstr(dsv3_build_info(), ", cpu levels: scalar") != NULL);
  for (int32_t i = 0; i < (int32_t)(sizeof names / sizeof names[0]); ++i) {
    CHECK(strcmp(dsv3_status_name(i), names[i]) == 0);
  }
  CHECK(strcmp(dsv3_status_name(-1), "UNKNOWN") == 0);
  CHECK(strcmp(dsv3_status_name(13), "UNKNOWN") == 0);
  CHECK(strcmp(dsv3_status_name(INT32_MAX), "UNKNOWN") == 0);
  return 0;
}
