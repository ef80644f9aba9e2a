package hamsg_test

// bzipped is what bzip2 1.0.8 makes of ">>>\nt=big\nx=1\n<<<\n".
const bzipped = "QlpoOTFBWSZTWYrkdh4AAAZJgAAQIAcQoARAIAAhoaaGhADCavEQm8BTZHi7kinChIRXI7Dw"
