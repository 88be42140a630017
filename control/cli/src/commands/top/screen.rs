//! A terminal that is kept up to date, and left as it was.

use std::io::{self, IsTerminal, Stdout, Write};

use crossterm::cursor::{Hide, MoveTo, Show};
use crossterm::event::{Event, EventStream, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use crossterm::style::{Attribute, Print, SetAttribute};
use crossterm::terminal::{
    Clear, ClearType, DisableLineWrap, EnableLineWrap, EnterAlternateScreen, LeaveAlternateScreen,
    disable_raw_mode, enable_raw_mode, size,
};
use crossterm::{execute, queue};
use tokio_stream::StreamExt as _;

use super::view::{Kind, Line};

/// The terminal while it is ours: a screen beside the one that was there, without a cursor, whose
/// keys come one by one.
pub(super) struct Screen {
    stdout: Stdout,
    keys: EventStream,
    lines: Vec<Line>,
}

impl Screen {
    /// Whether there is a terminal to show things on, and to take keys from.
    pub(super) fn is_there() -> bool {
        io::stdin().is_terminal() && io::stdout().is_terminal()
    }

    pub(super) fn enter() -> io::Result<Self> {
        enable_raw_mode()?;
        // From here on whatever fails, or panics, leaves again.
        let mut screen = Self { stdout: io::stdout(), keys: EventStream::new(), lines: Vec::new() };
        execute!(screen.stdout, EnterAlternateScreen, Hide, DisableLineWrap)?;
        Ok(screen)
    }

    /// Shows these lines, as many as there is room for.
    pub(super) fn show(&mut self, lines: Vec<Line>) -> io::Result<()> {
        self.lines = lines;
        self.draw()
    }

    /// Returns when somebody has had enough. Draws anew what is shown when the size changes.
    pub(super) async fn until_quit(&mut self) -> io::Result<()> {
        while let Some(event) = self.keys.next().await {
            match event? {
                Event::Key(key) if quits(&key) => return Ok(()),
                Event::Resize(..) => self.draw()?,
                _ => {}
            }
        }
        // There are no keys any more: the terminal has gone.
        Ok(())
    }

    fn draw(&mut self) -> io::Result<()> {
        let (columns, rows) = size()?;
        let (columns, rows) = (usize::from(columns), usize::from(rows));
        for (row, line) in (0_u16..).zip(self.lines.iter().take(rows)) {
            queue!(self.stdout, MoveTo(0, row))?;
            match line.kind {
                Kind::Plain => {}
                Kind::Heading => queue!(self.stdout, SetAttribute(Attribute::Bold))?,
                Kind::Bad => queue!(self.stdout, SetAttribute(Attribute::Reverse))?,
            }
            let text: String = line.text.chars().take(columns).collect();
            queue!(
                self.stdout,
                Print(text),
                SetAttribute(Attribute::Reset),
                Clear(ClearType::UntilNewLine)
            )?;
        }
        if self.lines.len() < rows {
            let row = u16::try_from(self.lines.len()).unwrap_or(u16::MAX);
            queue!(self.stdout, MoveTo(0, row), Clear(ClearType::FromCursorDown))?;
        }
        self.stdout.flush()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // If the terminal has gone there is nothing to leave.
        let _ = execute!(self.stdout, EnableLineWrap, Show, LeaveAlternateScreen);
        let _ = disable_raw_mode();
    }
}

/// In raw mode Ctrl-C is a key like others.
fn quits(key: &KeyEvent) -> bool {
    let control = key.modifiers.contains(KeyModifiers::CONTROL);
    key.kind != KeyEventKind::Release
        && match key.code {
            KeyCode::Char('q' | 'Q') => !control,
            KeyCode::Char('c' | 'd') => control,
            KeyCode::Esc => true,
            _ => false,
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn q_and_ctrl_c_quit_and_other_keys_do_not() {
        let key = |letter, modifiers| quits(&KeyEvent::new(KeyCode::Char(letter), modifiers));
        assert!(key('q', KeyModifiers::NONE) && key('Q', KeyModifiers::SHIFT));
        assert!(key('c', KeyModifiers::CONTROL));
        assert!(!key('c', KeyModifiers::NONE) && !key('x', KeyModifiers::CONTROL));
        assert!(!quits(&KeyEvent::new(KeyCode::Enter, KeyModifiers::NONE)));
    }
}
