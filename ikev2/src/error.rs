//! Why things fail, one name per offence.
