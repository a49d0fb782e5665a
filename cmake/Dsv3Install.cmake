# `cmake --install`: header, shared library, CMake package dsv3::dsv3 and dsv3.pc.
include(CMakePackageConfigHelpers)
set(dsv3_package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/dsv3)

install(TARGETS dsv3 EXPORT dsv3_targets
  LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
  RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
file(GLOB dsv3_public_headers CONFIGURE_DEPENDS
  ${PROJECT_SOURCE_DIR}/include/*.h ${PROJECT_SOURCE_DIR}/include/*.hpp)
install(FILES ${dsv3_public_headers} DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(FILES ${PROJECT_SOURCE_DIR}/LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})

install(EXPORT dsv3_targets NAMESPACE dsv3:: FILE dsv3-config.cmake
  DESTINATION ${dsv3_package_dir})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/dsv3-config-version.cmake
  COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/dsv3-config-version.cmake DESTINATION ${dsv3_package_dir})

configure_file(${PROJECT_SOURCE_DIR}/cmake/dsv3.pc.in ${PROJECT_BINARY_DIR}/dsv3.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/dsv3.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
