; The installer for Windows: for one user, without an administrator.
Unicode true
Name "Perch"
OutFile "${OUT}"
RequestExecutionLevel user
InstallDir "$LOCALAPPDATA\Programs\Perch"
InstallDirRegKey HKCU "Software\Perch" "InstallDir"
VIProductVersion "${NUMBER}"
VIAddVersionKey ProductName "Perch"
VIAddVersionKey ProductVersion "${VERSION}"
VIAddVersionKey FileVersion "${VERSION}"
VIAddVersionKey FileDescription "Installs Perch, a Nextcloud Talk bot"
VIAddVersionKey LegalCopyright "The Perch authors, Apache License 2.0"
SetCompressor /SOLID lzma
!define UNINSTALL "Software\Microsoft\Windows\CurrentVersion\Uninstall\Perch"

Page directory
Page instfiles
UninstPage uninstConfirm
UninstPage instfiles

Section
  SetOutPath "$INSTDIR"
  File "/oname=perch.exe" "${PROGRAM}"
  File "/oname=LICENSE.txt" "LICENSE"
  File "/oname=THIRD_PARTY_LICENSES.txt" "THIRD_PARTY_LICENSES"
  WriteUninstaller "$INSTDIR\uninstall.exe"
  WriteRegStr HKCU "Software\Perch" "InstallDir" "$INSTDIR"
  WriteRegStr HKCU "${UNINSTALL}" "DisplayName" "Perch"
  WriteRegStr HKCU "${UNINSTALL}" "DisplayVersion" "${VERSION}"
  WriteRegStr HKCU "${UNINSTALL}" "DisplayIcon" "$INSTDIR\perch.exe"
  WriteRegStr HKCU "${UNINSTALL}" "UninstallString" '"$INSTDIR\uninstall.exe"'
  WriteRegDWORD HKCU "${UNINSTALL}" "NoModify" 1
  WriteRegDWORD HKCU "${UNINSTALL}" "NoRepair" 1
SectionEnd

; Settings and journal stay; they are in %AppData%\perch and %LocalAppData%\perch.
Section "Uninstall"
  Delete "$INSTDIR\perch.exe"
  Delete "$INSTDIR\LICENSE.txt"
  Delete "$INSTDIR\THIRD_PARTY_LICENSES.txt"
  Delete "$INSTDIR\uninstall.exe"
  RMDir "$INSTDIR"
  DeleteRegKey HKCU "${UNINSTALL}"
  DeleteRegKey HKCU "Software\Perch"
SectionEnd
